package tuning

import "testing"

func TestOneMoreThreadThanCPUsUnlessTheOperatorDecides(t *testing.T) {
	for _, test := range []struct {
		asked      string
		cpus, want int
	}{
		{"", 1, 2},
		{"", 2, 3},
		{"", 64, 65},
		{"4", 4, 4},
	} {
		if got := procs(test.asked, test.cpus); got != test.want {
			t.Errorf("GOMAXPROCS=%q with %d: %d, want %d", test.asked, test.cpus, got, test.want)
		}
	}
}
