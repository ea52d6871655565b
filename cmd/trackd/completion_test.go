package main

import (
	"bytes"
	"os/exec"
	"testing"
)

func TestBashCompletesCommandsAndFlags(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skipf("no bash here: %v", err)
	}
	var script, complaints bytes.Buffer
	if code := run(t.Context(), []string{"completion", "bash"}, nil, nil, &script, &complaints); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &complaints)
	}
	for _, test := range []struct{ typed, want string }{
		{"trackd 'sta'", "status\n"},
		{"trackd dead 're'", "replay\n"},
		{"trackd --config x dead list '--re'", "--reason\n"},
		{"trackd drain '--o'", "--open\n"},
		{"trackd send 'nothing'", "\n"},
		{"trackd 'completion'", "\n"}, // nobody types it
	} {
		ask := script.String() + "\nCOMP_WORDS=(" + test.typed + "); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _trackd; echo \"${COMPREPLY[@]}\"\n"
		got, err := exec.Command(bash, "--norc", "-c", ask).CombinedOutput()
		if err != nil || string(got) != test.want {
			t.Errorf("%s: got %q, %v, want %q", test.typed, got, err, test.want)
		}
	}
}
