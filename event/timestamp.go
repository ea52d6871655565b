package event

import (
	"strings"
	"time"
)

// mintedTime is the layout of a timestamp that the parser adds, in UTC.
const mintedTime = "2006-01-02T15:04:05.000Z07:00"

// checkTimestamp reports whether s is a date and time of RFC 3339 with at most
// nine digits of fraction, and returns it as it is to be sent: s itself, save
// that an offset without colon ("+0000", as SimpleDateFormat and older Jackson
// write it) gets one. Leap seconds are rejected: most parsers stumble over them.
func checkTimestamp(s string) (string, bool) {
	const seconds = len("2006-01-02T15:04:05")
	zone := strings.LastIndexAny(s, "Zz+-")
	if zone < seconds || zone > seconds+len(".123456789") {
		return s, false
	}
	if offset := s[zone+1:]; len(offset) == len("0000") && offset[2] != ':' {
		s = s[:zone+3] + ":" + s[zone+3:]
	}
	// The library is lax in three things: an hour of one digit, a comma before
	// the fraction, and an offset of 24 hours or 60 minutes.
	if s[len("2006-01-02T15")] != ':' || s[seconds] == ',' {
		return s, false
	}
	if offset := s[zone+1:]; offset != "" && (len(offset) != len("00:00") || offset[:2] > "23" || offset[3:] > "59") {
		return s, false
	}
	var t time.Time
	// "t" and "z" are legal, but the library knows capitals only.
	return s, t.UnmarshalText([]byte(strings.ToUpper(s))) == nil
}
