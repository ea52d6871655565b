package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"trackd/config"
)

func TestDurationsInTheLogAreReadable(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		newLogger(&out, config.Log{Format: format}).Info("delivery recovered", "after", 3*time.Minute+1234567*time.Nanosecond)
		if !strings.Contains(out.String(), "3m0.001s") {
			t.Errorf("%s: got %q, want the duration as 3m0.001s", format, out.String())
		}
	}
}
