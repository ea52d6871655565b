package event

import "github.com/go-json-experiment/json"

// HasUser reports whether body names id as its userId or anonymousId. It is
// for operators' filters; delivery never looks into a body.
func HasUser(body []byte, id string) bool {
	var who struct {
		UserID      any `json:"userId"`
		AnonymousID any `json:"anonymousId"`
	}
	if json.Unmarshal(body, &who) != nil {
		return false
	}
	return who.UserID == id || who.AnonymousID == id
}
