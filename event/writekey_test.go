package event

import "testing"

func TestTheWriteKeyIsFoundInCallsAndBatches(t *testing.T) {
	for body, want := range map[string]string{
		`{"writeKey":"k1","event":"x"}`:                     "k1",
		` {"batch":[{"writeKey":"inner"}],"writeKey":"k1"}`: "k1",
		`{"batch":[{"a":NaN}],"writeKey":"k\u0031"}`:        "k1",
		`{"batch":[{"writeKey":"inner"}]}`:                  "",
		`{"writeKey":null}`:                                 "",
		`{"writeKey":7}`:                                    "",
		`[]`:                                                "",
		``:                                                  "",
		`"writeKey"`:                                        "",
	} {
		if got := WriteKey([]byte(body)); got != want {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
}
