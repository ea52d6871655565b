package event

import "testing"

func TestHasUserFindsEitherIDInAnyLetter(t *testing.T) {
	for _, test := range []struct {
		name, body, id string
		want           bool
	}{
		{"userId", `{"userId":"a","anonymousId":"b"}`, "a", true},
		{"anonymousId", `{"userId":"a","anonymousId":"b"}`, "b", true},
		{"neither", `{"userId":"a","anonymousId":"b"}`, "c", false},
		{"a part of one", `{"userId":"abc"}`, "ab", false},
		{"escaped", `{"userId":"p\u00e9"}`, "pé", true},
		{"a number, in a letter from the door", `{"userId":12345678901234567890}`, "12345678901234567890", true},
		{"another number", `{"userId":12}`, "1", false},
		{"null", `{"userId":null}`, "null", false},
		{"an id elsewhere", `{"context":{"userId":"a"}}`, "a", false},
		{"no JSON", `{"userId":"a"`, "a", false},
		{"no object", `["a"]`, "a", false},
		{"nothing", ``, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := HasUser([]byte(test.body), test.id); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
