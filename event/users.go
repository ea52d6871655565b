package event

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// HasUser reports whether body names id as its userId or anonymousId, as a
// string or as a number. It is for operators' filters; delivery never looks
// into a body. A body that is no JSON object, as rejected input may be,
// names nobody.
func HasUser(body []byte, id string) bool {
	var who struct {
		UserID      jsontext.Value `json:"userId"`
		AnonymousID jsontext.Value `json:"anonymousId"`
	}
	if json.Unmarshal(body, &who) != nil {
		return false
	}
	return names(who.UserID, id) || names(who.AnonymousID, id)
}

// names reports whether value is the string id, or a number written like it.
func names(value jsontext.Value, id string) bool {
	switch value.Kind() {
	case jsontext.KindString:
		return string(unquote(value)) == id
	case jsontext.KindNumber:
		return string(value) == id
	}
	return false
}
