//go:build boot

// Package systemd_test is what systemd/boot runs as root in a machine of its
// own: it installs the package there and lives through its life. It changes the
// system it runs on, so never run it elsewhere.
package systemd_test

import (
	"bufio"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	configFile = "/etc/trackd/config.yaml"
	keyFile    = "/etc/credstore/trackd.api_key"
	queueDir   = "/var/lib/trackd"
	units      = "trackd.service trackd.socket trackd-http.socket"
)

// TestTheLifeOfTheService is one story: each part begins where the one before
// it ended.
func TestTheLifeOfTheService(t *testing.T) {
	if os.Getenv("TRACKD_BOOT_TEST") != "yes" {
		t.Skip("this test installs and purges packages: systemd/boot runs it in a machine made for it")
	}
	m := newMachine(t)
	for _, part := range []struct {
		name string
		tell func(t *testing.T, m *machine)
	}{
		{"installing starts nothing yet", installing},
		{"the units are sound", soundUnits},
		{"clients wait until the configuration is mended", waitingForConfiguration},
		{"the credential is the key", credential},
		{"the status line says what matters", statusLine},
		{"hardening is in force and breaks nothing", hardening},
		{"restarts refuse no client", restarts},
		{"a kill is followed by a restart", kill},
		{"the watchdog ends a stuck process", watchdog},
		{"a reload drops no connection", reload},
		{"a stop under load loses nothing", stop},
		{"an upgrade keeps queue, settings and clients", upgrade},
		{"everything acknowledged has arrived", account},
		{"removal keeps the queue, purge asks", purge},
	} {
		if !t.Run(part.name, func(t *testing.T) { m.T = t; part.tell(t, m) }) {
			run(t, "journalctl --no-pager -n 40 -o cat -u trackd.service")
			return
		}
	}
}

func installing(t *testing.T, m *machine) {
	said := run(t, "dpkg -i /test/old.deb")
	want(t, said, "trackd is installed and not running yet")
	want(t, tryRun("systemctl is-active "+units), "^inactive\ninactive\ninactive$")
	want(t, run(t, "id trackd"), `uid=\d+\(trackd\)`)
	want(t, run(t, "stat -c '%a %U %G' /run/trackd /etc/trackd/config.yaml"), "^755 trackd trackd\n644 root root$")
}

func soundUnits(t *testing.T, m *machine) {
	for unit := range strings.FieldsSeq(units) {
		if said := run(t, "systemd-analyze verify "+unit); said != "" {
			t.Errorf("verify %s says %s", unit, said)
		}
	}
	said := run(t, "systemd-analyze security --offline=true --threshold=15 --no-pager trackd.service | tail -1")
	want(t, said, `exposure level for trackd.service: (0\.\d|1\.[0-5]) `)
}

// waitingForConfiguration starts trackd without a region. A client that comes
// meanwhile is not refused, and is served once the region is there.
func waitingForConfiguration(t *testing.T, m *machine) {
	writeFile(t, keyFile, m.key+"\n", 0o600)
	tryRun("systemctl enable " + units)
	tryRun("systemctl start --no-block trackd.service")
	m.until("trackd to refuse its configuration", func() bool {
		return strings.Contains(tryRun("journalctl -o cat -u trackd.service"), "upstream.region: not set")
	})
	conn, err := net.Dial("unix", "/run/trackd/events.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	id := m.crowd.newID()
	if _, err := conn.Write([]byte(m.crowd.line(id))); err != nil {
		t.Fatal(err)
	}
	m.configure("")
	conn.SetReadDeadline(time.Now().Add(patience))
	reply, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.Contains(reply, `"accepted":1`) {
		t.Fatalf("got %q, %v", reply, err)
	}
	m.crowd.acknowledged(id)
	m.awaitActive()
}

// credential relies on the sandbox, which takes no other key.
func credential(t *testing.T, m *machine) {
	m.awaitDelivered()
	want(t, run(t, "stat -c '%a %U' "+keyFile), "^600 root$")
	if tryRun("runuser -u nobody -- cat "+keyFile+" /run/credentials/trackd.service/api_key") == m.key {
		t.Error("others can read the key")
	}
}

func statusLine(t *testing.T, m *machine) {
	m.untilStatus(`^line open; nothing queued$`)
	m.trouble(`{"preset":"unauthorized"}`)
	m.crowd.sendOne(t)
	m.untilStatus(`^line denied since [-: 0-9]+: .*; 1 queued$`)
	m.trouble("")
	run(t, "systemctl reload trackd.service") // tries at once
	m.untilStatus(`^line open(, not yet at its full rate)?; nothing queued$`)
	t.Log(run(t, "systemctl status --no-pager -n 0 trackd.service"))
}

func hardening(t *testing.T, m *machine) {
	process := "/proc/" + m.property("MainPID")
	status := readFile(t, process+"/status")
	want(t, status, `(?m)^CapEff:\s0+$`)
	want(t, status, `(?m)^Seccomp:\s2$`)
	want(t, status, `(?m)^NoNewPrivs:\s1$`)
	want(t, run(t, "stat -c '%a %U' /var/lib/trackd /run/trackd/events.sock /run/trackd/http.sock /run/trackd/admin.sock"),
		"^700 trackd\n660 root\n660 root\n600 trackd$")
	metrics := m.get("http://127.0.0.1:9484/metrics")
	for _, name := range []string{"process_start_time_seconds", "process_open_fds", "process_resident_memory_bytes", "trackd_build_info"} {
		want(t, metrics, `(?m)^`+name+`\S* [1-9]`)
	}
	want(t, run(t, "trackd status"), `open`)
	for level := range 4 { // emerg, alert, crit, err: nothing since the last start
		if said := tryRun("journalctl -q -o cat -u trackd.service _PID=" + m.property("MainPID") + " -p " + strconv.Itoa(level)); said != "" {
			t.Errorf("journal at priority %d: %s", level, said)
		}
	}
}

func restarts(t *testing.T, m *machine) {
	rush := m.crowd.rush()
	for range 5 {
		before := m.property("MainPID")
		m.crowd.more(t, 200)
		run(t, "systemctl restart trackd.service")
		m.crowd.more(t, 200)
		if m.property("MainPID") == before {
			t.Error("it is still the same process")
		}
	}
	rush.end(t)
	m.crowd.wantNoneRefused(t)
}

func kill(t *testing.T, m *machine) {
	rush := m.crowd.rush()
	m.crowd.more(t, 200)
	before := m.restarts()
	run(t, "systemctl kill -s KILL trackd.service")
	m.crowd.more(t, 400)
	rush.end(t)
	m.awaitActive()
	if got := m.restarts(); got != before+1 {
		t.Errorf("got %d restarts, want 1", got-before)
	}
	m.crowd.wantNoneRefused(t)
}

func watchdog(t *testing.T, m *machine) {
	writeFile(t, "/etc/systemd/system/trackd.service.d/watchdog.conf", "[Service]\nWatchdogSec=2s\n", 0o644)
	run(t, "systemctl daemon-reload")
	run(t, "systemctl restart trackd.service")
	time.Sleep(5 * time.Second) // two and a half times what is allowed without a sign of life
	before := m.restarts()
	if before != 0 {
		t.Fatalf("a healthy process was ended %d times", before)
	}
	pid, err := strconv.Atoi(m.property("MainPID"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	m.until("systemd to end the stuck process", func() bool { return m.restarts() == 1 })
	m.awaitActive()
	said := run(t, "journalctl -o cat -u trackd.service | grep -E 'Watchdog|SIGABRT|^goroutine 1 '")
	want(t, said, `Watchdog timeout \(limit 2s\)!`)
	want(t, said, `SIGABRT: abort`)
	want(t, said, `(?m)^goroutine 1 `)
	m.crowd.sendOne(t)
	run(t, "rm -r /etc/systemd/system/trackd.service.d")
	run(t, "systemctl daemon-reload")
	run(t, "systemctl restart trackd.service")
}

func reload(t *testing.T, m *machine) {
	conn, err := net.Dial("unix", "/run/trackd/events.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	before := m.property("MainPID")
	m.configure("sender: {rate: 900}")
	run(t, "systemctl reload trackd.service")
	m.until("the reload", func() bool {
		return strings.Contains(tryRun("journalctl -o cat -u trackd.service"), `sender.rate: 1000 to 900`)
	})
	m.configure("sender: {rate: many}")
	run(t, "systemctl reload trackd.service")
	m.until("the bad configuration to be refused", func() bool {
		return strings.Contains(tryRun("journalctl -o cat -u trackd.service"), `configuration refused, the old one stays in force`)
	})
	m.awaitActive() // READY follows either way
	want(t, tryRun("journalctl -o cat -u trackd.service"), `Reloaded trackd.service`)
	m.configure("")
	run(t, "systemctl reload trackd.service")
	if after := m.property("MainPID"); after != before {
		t.Errorf("process %s became %s", before, after)
	}
	m.crowd.sendOn(t, conn)
}

func stop(t *testing.T, m *machine) {
	m.awaitDelivered()
	duplicates := m.box.Received().Duplicates
	m.trouble(`{"preset":"slow","do":{"delay":"200ms"}}`)
	rush := m.crowd.rush()
	m.crowd.more(t, 500)
	begin := time.Now()
	run(t, "systemctl stop "+units)
	took := time.Since(begin)
	want(t, m.property("Result"), "^success$")
	if _, err := net.Dial("unix", "/run/trackd/events.sock"); err == nil {
		t.Error("the socket still takes clients")
	}
	m.trouble("")
	run(t, "systemctl start "+units)
	rush.end(t)
	m.awaitDelivered()
	refused, cut := m.crowd.takeFailures()
	t.Logf("stopped in %v; clients cut off: %d, refused while the sockets were closed: %d", took.Round(time.Millisecond), cut, refused)
	if got := m.box.Received().Duplicates; got != duplicates {
		t.Errorf("%d events came twice", got-duplicates)
	}
}

func upgrade(t *testing.T, m *machine) {
	m.trouble(`{"preset":"down"}`)
	rush := m.crowd.rush()
	m.crowd.more(t, 300)
	m.untilStatus(`^line probing .*queued`)
	settings := readFile(t, configFile)
	said := run(t, "dpkg -i /test/new.deb >/dev/null")
	m.crowd.more(t, 300)
	rush.end(t)
	m.crowd.wantNoneRefused(t)
	if strings.Contains(said, "not running yet") {
		t.Errorf("dpkg says %s", said)
	}
	want(t, m.get("http://127.0.0.1:9484/status"), `"version": "`+regexp.QuoteMeta(os.Getenv("TRACKD_NEW_VERSION"))+`"`)
	if readFile(t, configFile) != settings {
		t.Error("the configuration is another")
	}
	m.trouble("")
	m.awaitDelivered()
}

func account(t *testing.T, m *machine) {
	m.awaitDelivered()
	got := m.box.Received()
	t.Logf("acknowledged %d events; arrived %d different ones, %d more than once", m.crowd.total(), got.Unique, got.Duplicates)
	want(t, m.get("http://127.0.0.1:9484/status"), `"balances": true`)
	want(t, m.get("http://127.0.0.1:9484/status"), `"lost": 0,`)
}

func purge(t *testing.T, m *machine) {
	m.trouble(`{"preset":"down"}`)
	m.crowd.sendOne(t)
	run(t, "dpkg --remove trackd")
	want(t, tryRun("systemctl is-active trackd.service trackd.socket"), "inactive\ninactive|failed")
	want(t, run(t, "ls "+queueDir), `\.seg`)

	run(t, "dpkg -i /test/new.deb") // and back, to the same queue
	run(t, "systemctl enable --now "+units)
	m.trouble("")
	m.awaitDelivered()

	want(t, run(t, "dpkg --purge trackd </dev/null"), "the queue stays in "+queueDir)
	run(t, "dpkg -i /test/new.deb >/dev/null")
	want(t, run(t, "echo n | env -u DEBIAN_FRONTEND script -qec 'dpkg --purge trackd' /dev/null"), `Delete the queue of trackd, .* with all events not delivered yet\? \[y/N\]`)
	want(t, run(t, "ls "+queueDir), `\.seg`)
	run(t, "dpkg -i /test/new.deb >/dev/null")
	run(t, "echo y | env -u DEBIAN_FRONTEND script -qec 'dpkg --purge trackd' /dev/null")
	if _, err := os.Stat(queueDir); !os.IsNotExist(err) {
		t.Errorf("the queue is still there: %v", err)
	}
}
