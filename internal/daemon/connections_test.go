package daemon

import (
	"strings"
	"testing"
)

func TestDescriptorsAreDividedSoThatTheDaemonHasItsOwn(t *testing.T) {
	for _, c := range []struct{ files, workers, want int }{
		{1 << 20, 16, 1024},
		{1 << 20, 1024, 1024},
		{1024, 16, 369},
		{300, 16, 47},
		{212, 16, 8},
		{211, 16, 0},
		{300, 1024, 0},
		{0, 1, 0},
	} {
		got, err := clientConns(c.files, c.workers)
		if got != c.want || (err == nil) != (c.want > 0) {
			t.Errorf("%d files, %d workers: %d, %v; want %d", c.files, c.workers, got, err, c.want)
		}
		if err != nil && !strings.Contains(err.Error(), "LimitNOFILE") {
			t.Errorf("error %q does not say what to do", err)
		}
	}
}
