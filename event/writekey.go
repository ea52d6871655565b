package event

import "github.com/go-json-experiment/json"

// WriteKey returns the key that a client which sends no Basic auth puts into the
// body of its call or batch, "" if there is none. It is found whatever else is
// wrong with the body, as far as it is certain where its members end.
func WriteKey(body []byte) string {
	var key string
	_ = envelope(body, func(name []byte, m member) *Error { // what is wrong is told by who parses it
		if string(name) == "writeKey" && json.Unmarshal(m.value(body), &key) != nil {
			key = ""
		}
		return nil
	})
	return key
}
