package listen_test

import (
	"testing"

	"trackd/internal/listen"
)

func TestOnlyNamesThatNoForeignPageCanHaveAreAllowed(t *testing.T) {
	configured := listen.NewHosts([]string{"trackd.example.com", "Other."}, nil)
	for host, want := range map[string]struct{ none, configured bool }{
		"":                           {true, true},
		"localhost":                  {true, true},
		"LOCALHOST.:80":              {true, true},
		"app.localhost:8484":         {true, true},
		"127.0.0.1":                  {true, true},
		"10.1.2.3:8484":              {true, true},
		"[::1]":                      {true, true},
		"[::1]:8484":                 {true, true},
		"trackd.example.com":         {false, true},
		"TRACKD.example.com.:8484":   {false, true},
		"other":                      {false, true},
		"x.trackd.example.com":       {false, false},
		"evil.example":               {false, false},
		"localhost.evil.example":     {false, false},
		"127.0.0.1.evil.example":     {false, false},
		"evil.example:127.0.0.1":     {false, false},
		"notlocalhost":               {false, false},
		"[::1].evil.example":         {false, false},
		"trackd.example.com.evil.ex": {false, false},
	} {
		if got := (listen.Hosts{}).Allow(host); got != want.none {
			t.Errorf("%q, none configured: allowed %t, want %t", host, got, want.none)
		}
		if got := configured.Allow(host); got != want.configured {
			t.Errorf("%q, configured: allowed %t, want %t", host, got, want.configured)
		}
	}
}
