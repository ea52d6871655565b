package interop

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// keyFile returns a setting that makes key the ingest key.
func keyFile(t testing.TB, key string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(name, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return "TRACKD_INGEST_KEY_FILE=" + name
}

// An SDK shows its write key; where trackd asks for one, that is it.
func TestWriteKeyOfAnSDKIsTheIngestKey(t *testing.T) {
	for _, c := range []struct {
		key  string
		want string // what Python makes of the answer
	}{{"write-key", ""}, {"another-key", "401: unauthorized"}} {
		t.Run(c.key, func(t *testing.T) {
			far := newStand(t)
			d := startDaemon(t, far.url+"/v1", keyFile(t, c.key))
			var sent []string
			for _, s := range shapes() {
				calls := lifecycle(s.name, 3)
				got := exactly200(s.post(t, http.DefaultClient, "http://"+d.http+"/v1/batch", calls))
				if got != c.want {
					t.Errorf("%s is told %q, want %q", s.name, got, c.want)
				}
				if c.want == "" {
					sent = append(sent, users(calls)...)
				}
			}
			d.awaitDrained()
			far.checkArrived(sent)
		})
	}
}

func TestSDKWithTheWrongKeyIsNotTakenForAnother(t *testing.T) {
	eachSDK(t, func(t *testing.T, s sdk) {
		far := newStand(t)
		d := startDaemon(t, far.url+"/v1", keyFile(t, "another-key")) // client.mjs shows "any"
		calls := lifecycle(s.name, 20)
		all := runApp(t, plan{SDK: s.name, URL: "http://" + d.http, Events: calls, Options: s.quick(nil)})
		if delivered, failed := split(all); len(delivered) > 0 || len(failed) != len(calls) {
			t.Errorf("delivered %d, failed %d; want all %d failed: %v", len(delivered), len(failed), len(calls), reasons(all))
		}
		if got := d.status().Account.Taken; got != 0 {
			t.Errorf("%d events taken", got)
		}
	})
}
