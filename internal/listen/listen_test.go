package listen_test

import (
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"trackd/internal/listen"
)

// place is a socket path in a directory of its own, short enough for one
// whatever the test's name.
func place(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "listen")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "a.sock")
}

func listenUnix(t testing.TB, path string, mode fs.FileMode, group string) net.Listener {
	t.Helper()
	l, err := listen.Unix(path, mode, group)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// refused checks that Unix fails and says each of the words.
func refused(t testing.TB, path, group string, words ...string) {
	t.Helper()
	l, err := listen.Unix(path, 0o660, group)
	if err == nil {
		_ = l.Close()
		t.Fatal("got a listener, want an error")
	}
	for _, word := range append(words, "listen on "+path+": ") {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("got %q, which does not say %q", err, word)
		}
	}
}

// dead leaves a socket that nobody listens on, as a killed process does.
func dead(t testing.TB, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func mode(t testing.TB, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestASocketTakesConnectionsAndGoesWithItsListener(t *testing.T) {
	path := place(t)
	l := listenUnix(t, path, 0o660, "")
	client, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(client, "hi")
	_ = client.Close()
	if got, err := io.ReadAll(server); string(got) != "hi" || err != nil {
		t.Errorf("got %q, %v; want hi", got, err)
	}
	_ = server.Close()
	_ = l.Close()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("after Close, lstat gives %v, want the socket gone", err)
	}
}

func TestTheModeIsTheOneAskedForWhateverTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o777} {
		for _, want := range []fs.FileMode{0o600, 0o660, 0o666} {
			path := place(t)
			old := syscall.Umask(umask)
			l, err := listen.Unix(path, want, "")
			syscall.Umask(old)
			if err != nil {
				t.Fatal(err)
			}
			if got := mode(t, path); got != want {
				t.Errorf("umask %o: got mode %o, want %o", umask, got, want)
			}
			_ = l.Close()
		}
	}
}

func TestAMissingDirectoryIsMadeAndKeptFromOthers(t *testing.T) {
	path := filepath.Join(filepath.Dir(place(t)), "trackd", "a.sock")
	listenUnix(t, path, 0o660, "")
	if got := mode(t, filepath.Dir(path)); got != 0o750 {
		t.Errorf("got mode %o, want 750", got)
	}
}

func TestADeadSocketIsReplaced(t *testing.T) {
	path := place(t)
	dead(t, path)
	listenUnix(t, path, 0o660, "")
	client, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("nobody listens in the dead socket's place: %v", err)
	}
	_ = client.Close()
}

func TestALiveSocketIsLeftToItsOwner(t *testing.T) {
	path := place(t)
	l := listenUnix(t, path, 0o660, "")
	refused(t, path, "", fmt.Sprintf("process %d (", os.Getpid()), "stop it")
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the owner lost its socket: %v", err)
	}
	_ = conn.Close()
	_ = l.Close()
}

func TestWhatIsNoSocketIsNotTouched(t *testing.T) {
	path := place(t)
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, path, "", "no socket", "move it away")
	if got, err := os.ReadFile(path); string(got) != "precious" {
		t.Errorf("the file now holds %q, %v", got, err)
	}

	target := place(t)
	dead(t, target)
	link := filepath.Join(filepath.Dir(target), "link")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	refused(t, link, "", "no socket")
	if _, err := os.Lstat(target); err != nil {
		t.Errorf("what the link points at is gone: %v", err)
	}
}

func TestASocketOfAnotherKindIsNotTouched(t *testing.T) {
	path := place(t)
	datagrams, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	refused(t, path, "", "not known whether it is in use")
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the socket is gone: %v", err)
	}
}

func TestAPathTooLongIsToldInWords(t *testing.T) {
	base := filepath.Dir(place(t)) + "/"
	longest := 107
	if runtime.GOOS != "linux" {
		longest = 103
	}
	fits := base + strings.Repeat("x", longest-len(base))
	listenUnix(t, fits, 0o660, "")
	refused(t, fits+"x", "", fmt.Sprintf("%d bytes", longest+1), fmt.Sprintf("may have %d", longest))
}

func TestADirectoryThatIsNoneIsTold(t *testing.T) {
	file := place(t)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, filepath.Join(file, "a.sock"), "", file+" is no directory")
}

// anotherGroup is a group that this process may give files to and that they do
// not have by themselves.
func anotherGroup(t testing.TB) int {
	t.Helper()
	if os.Geteuid() == 0 {
		return 4711
	}
	groups, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(groups, func(gid int) bool { return gid != os.Getegid() })
	if i < 0 {
		t.Skip("this user is in one group only")
	}
	return groups[i]
}

func TestTheGroupMayConnectAndReachEveryDirectoryMadeForIt(t *testing.T) {
	want := anotherGroup(t)
	path := filepath.Join(filepath.Dir(place(t)), "run", "trackd", "a.sock")
	listenUnix(t, path, 0o660, strconv.Itoa(want))
	for _, made := range []string{path, filepath.Dir(path), filepath.Dir(filepath.Dir(path))} {
		info, err := os.Lstat(made)
		if err != nil {
			t.Fatal(err)
		}
		if got := int(info.Sys().(*syscall.Stat_t).Gid); got != want {
			t.Errorf("%s: got group %d, want %d", filepath.Base(made), got, want)
		}
	}
}

func TestAGroupMayBeNamed(t *testing.T) {
	own, err := user.LookupGroupId(strconv.Itoa(os.Getegid()))
	if err != nil {
		t.Skipf("this process's group has no name: %v", err)
	}
	listenUnix(t, place(t), 0o660, own.Name)
	refused(t, place(t), "no-such-group", `group "no-such-group"`, "give one that exists")
}

func TestAGroupThatIsNotOursIsRefusedAndLeavesNothing(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may give a socket to any group")
	}
	path := place(t)
	refused(t, path, "0", "must be a member of group 0")
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("lstat gives %v, want no socket", err)
	}
}

func TestADirectorySomebodyElseMadeInTmpIsNotTrusted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make a directory somebody else's")
	}
	shared := filepath.Dir(place(t))
	if err := os.Chmod(shared, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(shared, "trackd-0")
	if err := os.Mkdir(theirs, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(theirs, 4711, -1); err != nil {
		t.Fatal(err)
	}
	refused(t, filepath.Join(theirs, "a.sock"), "", "belongs to user 4711")
}

func TestTCPSaysWhatIsInTheWay(t *testing.T) {
	l, err := listen.TCP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for address, words := range map[string]string{
		l.Addr().String():  "another process has the port",
		"192.0.2.1:0":      "no interface of this host has the address", // TEST-NET-1, RFC 5737
		"127.0.0.1:eleven": "listen on 127.0.0.1:eleven: ",
	} {
		other, err := listen.TCP(address)
		if err == nil {
			_ = other.Close()
			t.Errorf("%s: got a listener, want an error", address)
		} else if !strings.Contains(err.Error(), words) {
			t.Errorf("%s: got %q, which does not say %q", address, err, words)
		}
	}
}

func ExampleUnix() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	l, err := listen.Unix(filepath.Join(dir, "run", "events.sock"), 0o660, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	fmt.Println(filepath.Base(l.Addr().String()))
	// Output: events.sock
}
