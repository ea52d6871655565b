package event

import "testing"

func TestTimestampsAreRFC3339WithOffset(t *testing.T) {
	for _, s := range []string{
		"2024-01-15T10:30:00Z",
		"2024-01-15T10:30:00.000Z",
		"2024-01-15T10:30:00.1Z",
		"2024-01-15T10:30:00.123456789Z",
		"2024-01-15T10:30:00+02:00",
		"2024-01-15T10:30:00.000-23:59",
		"2024-02-29T23:59:59+00:00",
		"2024-01-15t10:30:00z",
		"0001-01-01T00:00:00Z", // nonsense, but the destination's to judge
	} {
		if got, ok := checkTimestamp(s); !ok || got != s {
			t.Errorf("%q: got %q, %v, want it as it came", s, got, ok)
		}
	}
}

func TestOffsetsWithoutColonGetOne(t *testing.T) {
	for s, want := range map[string]string{
		"2024-01-15T10:30:00+0000":           "2024-01-15T10:30:00+00:00",
		"2024-01-15T10:30:00.123456789-0330": "2024-01-15T10:30:00.123456789-03:30",
	} {
		if got, ok := checkTimestamp(s); !ok || got != want {
			t.Errorf("%q: got %q, %v, want %q", s, got, ok, want)
		}
	}
}

func TestOtherTimesAreRefused(t *testing.T) {
	for _, s := range []string{
		"", "now", "1705314600", "2024-01-15", "2024-01",
		"2024-01-15T10:30:00",             // no offset: whose local time?
		"2024-01-15 10:30:00Z",            // a space
		"2024-01-15T10:30Z",               // no seconds
		"20240115T103000Z",                // ISO 8601 basic format
		"2024-W03-1T10:30:00Z",            // ISO 8601 week date
		"2024-01-15T10:30:00.Z",           // a point without digits
		"2024-01-15T10:30:00,123Z",        // a comma
		"2024-01-15T10:30:00.1234567890Z", // ten digits
		"2024-01-15T10:30:00+02",
		"2024-01-15T10:30:00+24:00",
		"2024-01-15T10:30:00+23:60",
		"2024-01-15T10:30:00+0060",
		"2024-01-15T10:30:00+2:00",
		"2024-01-15T10:30:00+00000",
		"2024-01-15T10:30:00+ab00",
		"2024-01-15T10:30:00ZZ",
		"2024-01-15T10:30:00Z ",
		" 2024-01-15T10:30:00Z",
		"2024-02-30T10:30:00Z",
		"2024-13-01T10:30:00Z",
		"2024-01-15T24:00:00Z",
		"2024-01-15T9:30:00.00Z",
		"2016-12-31T23:59:60Z", // a leap second
		"+2024-01-15T10:30:00Z",
		"２０２４-01-15T10:30:00Z",
	} {
		if got, ok := checkTimestamp(s); ok {
			t.Errorf("%q: got %q, want a refusal", s, got)
		}
	}
}
