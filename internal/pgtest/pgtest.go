// Package pgtest starts real PostgreSQL servers for tests: a primary, standbys
// that replicate from it, and the ways in which they die.
//
// A server runs as an ordinary user in a temporary directory, listens on a port
// of 127.0.0.1 and ends with the test that started it. Where the machine has no
// PostgreSQL the test is skipped, and the reason printed.
//
// Reading order: pgtest.go (start, kill, promote), proxy.go (cut a connection).
package pgtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// superuser is the name of the role that initdb makes.
const superuser = "trackd"

// Options shapes a primary.
type Options struct {
	Settings map[string]string // more lines of postgresql.conf
	Durable  bool              // fsync; without it a test is quicker and survives SIGKILL all the same
}

// Server is one running PostgreSQL.
type Server struct {
	tb      testing.TB
	name    string
	bin     string // directory of the programs
	dir     string // data directory
	port    int
	process *exec.Cmd
	ended   chan struct{} // closed when process has ended
	as      *syscall.Credential
}

// Find returns the directory of PostgreSQL's programs, the newest version
// first, or why there is none.
func Find() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		return filepath.Dir(slices.Max(found)), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", fmt.Errorf("no PostgreSQL on this machine (on Debian: apt-get install postgresql): %w", err)
	}
	return filepath.Dir(path), nil
}

// Start makes and starts an empty primary. It skips the test where there is no
// PostgreSQL.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	bin, err := Find()
	if err != nil {
		tb.Skip(err)
	}
	s := &Server{tb: tb, name: "primary", bin: bin, as: credential(tb)}
	s.makeDir()
	s.run("initdb", "--pgdata", s.dir, "--username", superuser, "--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync", "--data-checksums")
	settings := map[string]string{
		"fsync": strconv.FormatBool(o.Durable), "max_connections": "200", "shared_buffers": "64MB", "max_wal_senders": "10",
		"unix_socket_directories": "", "listen_addresses": "127.0.0.1", "hot_standby": "on", "wal_sender_timeout": "5s",
		"wal_receiver_timeout": "5s", "wal_retrieve_retry_interval": "100ms", "log_min_messages": "warning",
	}
	for key, value := range o.Settings {
		settings[key] = value
	}
	var conf strings.Builder
	for key, value := range settings {
		fmt.Fprintf(&conf, "%s = '%s'\n", key, value)
	}
	s.write("trackd.conf", conf.String())
	s.append("postgresql.conf", "include 'trackd.conf'\n")
	s.append("pg_hba.conf", "host replication all 127.0.0.1/32 trust\n")
	s.Run()
	return s
}

// Standby makes and starts a standby of s, which replicates under this name.
func (s *Server) Standby(name string) *Server {
	s.tb.Helper()
	standby := &Server{tb: s.tb, name: name, bin: s.bin, as: s.as}
	standby.makeDir()
	s.run("pg_basebackup", "--pgdata", standby.dir, "--dbname", s.URL("postgres"), "--checkpoint", "fast", "--no-sync", "--wal-method", "stream")
	standby.Follow(s)
	standby.Run()
	return standby
}

// Follow makes the stopped server s a standby of primary from its next Run.
func (s *Server) Follow(primary *Server) {
	s.tb.Helper()
	s.write("standby.signal", "")
	s.append("postgresql.auto.conf", fmt.Sprintf("primary_conninfo = 'host=127.0.0.1 port=%d user=%s application_name=%s'\n", primary.port, superuser, s.name))
}

// Synchronous sets synchronous_standby_names and waits until as many standbys
// as the server then wants replicate synchronously; "" wants none.
func (s *Server) Synchronous(names string) {
	s.tb.Helper()
	s.Exec("ALTER SYSTEM SET synchronous_standby_names = '" + names + "'")
	s.Exec("SELECT pg_reload_conf()")
	if names == "" {
		return
	}
	s.eventually("a synchronous standby", func() bool {
		return s.Value("SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')") != "0"
	})
}

// Run starts the server and waits until it answers.
func (s *Server) Run() {
	s.tb.Helper()
	if s.port == 0 {
		s.port = freePort(s.tb)
	}
	log, err := os.OpenFile(s.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer log.Close()
	s.process = exec.Command(filepath.Join(s.bin, "postgres"), "-D", s.dir, "-p", strconv.Itoa(s.port))
	s.process.Stdout, s.process.Stderr = log, log
	s.process.SysProcAttr = &syscall.SysProcAttr{Credential: s.as, Setpgid: true}
	if err := s.process.Start(); err != nil {
		s.tb.Fatalf("start %s: %v", s.name, err)
	}
	process, ended := s.process, make(chan struct{})
	s.ended = ended
	go func() { _ = process.Wait(); close(ended) }()
	s.eventually("the server to answer", func() bool {
		select {
		case <-ended:
			said, _ := os.ReadFile(s.dir + ".log") // what it says is a help, not a proof
			s.tb.Fatalf("%s ended at its start:\n%s", s.name, said)
		default:
		}
		return s.try("SELECT 1") == nil
	})
}

// URL returns the URL of a database of this server.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", superuser, s.port, database)
}

// Addr returns the host and port it listens on.
func (s *Server) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// Kill ends every process of the server with SIGKILL, as the death of its host
// would.
func (s *Server) Kill() { s.end(-s.process.Process.Pid, syscall.SIGKILL) }

// Stop shuts the server down without waiting for clients.
func (s *Server) Stop() { s.end(s.process.Process.Pid, syscall.SIGINT) }

func (s *Server) end(pid int, signal syscall.Signal) {
	s.tb.Helper()
	select {
	case <-s.ended: // its pid may be another's by now
		return
	default:
	}
	if err := syscall.Kill(pid, signal); err != nil {
		s.tb.Errorf("end %s: %v", s.name, err)
	}
	<-s.ended
}

// Freeze stops every process of the server, as a host that hangs would, until
// Thaw.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(signal syscall.Signal) {
	s.tb.Helper()
	if err := syscall.Kill(-s.process.Process.Pid, signal); err != nil {
		s.tb.Fatalf("signal %s: %v", s.name, err)
	}
}

// Promote makes a standby the primary and waits until it takes writes.
func (s *Server) Promote() {
	s.tb.Helper()
	s.Exec("SELECT pg_promote(true, 60)")
	s.eventually("the promoted server to take writes", func() bool { return s.Value("SELECT pg_is_in_recovery()") == "false" })
}

// Exec runs one statement as the superuser.
func (s *Server) Exec(sql string) {
	s.tb.Helper()
	if err := s.try(sql); err != nil {
		s.tb.Fatalf("%s: %s: %v", s.name, sql, err)
	}
}

// Value returns the single value of a query as text.
func (s *Server) Value(sql string) (value string) {
	s.tb.Helper()
	err := s.connected(func(ctx context.Context, conn *pgx.Conn) error {
		var any any
		err := conn.QueryRow(ctx, sql).Scan(&any)
		value = fmt.Sprint(any)
		return err
	})
	if err != nil {
		s.tb.Fatalf("%s: %s: %v", s.name, sql, err)
	}
	return value
}

func (s *Server) try(sql string) error {
	return s.connected(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql)
		return err
	})
}

func (s *Server) connected(do func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return do(ctx, conn)
}

func (s *Server) eventually(what string, happened func() bool) {
	s.tb.Helper()
	deadline := time.Now().Add(time.Minute)
	for !happened() {
		if time.Now().After(deadline) {
			s.tb.Fatalf("%s: waited a minute for %s", s.name, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// makeDir makes the data directory, which the server's user owns, and ends the
// server and removes it when the test ends. It is not below testing.TB.TempDir,
// which other users may not enter.
func (s *Server) makeDir() {
	s.tb.Helper()
	parent, err := os.MkdirTemp("", "trackd-pgtest-")
	if err != nil {
		s.tb.Fatal(err)
	}
	s.dir = filepath.Join(parent, s.name)
	s.tb.Cleanup(func() {
		if s.process != nil {
			s.end(-s.process.Process.Pid, syscall.SIGKILL)
		}
		if err := os.RemoveAll(parent); err != nil {
			s.tb.Error(err)
		}
	})
	for _, err := range []error{os.Chmod(parent, 0o755), os.Mkdir(s.dir, 0o700)} {
		if err != nil {
			s.tb.Fatal(err)
		}
	}
	if s.as != nil {
		if err := os.Chown(s.dir, int(s.as.Uid), int(s.as.Gid)); err != nil {
			s.tb.Fatal(err)
		}
	}
}

// run runs one of PostgreSQL's programs to its end.
func (s *Server) run(program string, args ...string) {
	s.tb.Helper()
	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as}
	if said, err := cmd.CombinedOutput(); err != nil {
		s.tb.Fatalf("%s: %v\n%s", program, err, said)
	}
}

func (s *Server) write(file, text string) { s.put(file, text, os.O_TRUNC) }

func (s *Server) append(file, text string) { s.put(file, text, os.O_APPEND) }

func (s *Server) put(file, text string, flag int) {
	s.tb.Helper()
	path := filepath.Join(s.dir, file)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|flag, 0o600)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		s.tb.Fatal(err)
	}
	if s.as != nil {
		if err := f.Chown(int(s.as.Uid), int(s.as.Gid)); err != nil {
			s.tb.Fatal(err)
		}
	}
}

// credential returns whom the server runs as: PostgreSQL refuses to be root.
// nil means the user of the test.
func credential(tb testing.TB) *syscall.Credential {
	tb.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if uidErr == nil && gidErr == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	tb.Skip("PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it as")
	return nil
}

func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// URLs returns the URL of a database on the first of the servers that takes
// writes.
func URLs(database string, servers ...*Server) string {
	var hosts []string
	for _, s := range servers {
		hosts = append(hosts, s.Addr())
	}
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", superuser, strings.Join(hosts, ","), database)
}
