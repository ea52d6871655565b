package status

import "time"

// Clients is how those who send events, and those who look, get in.
type Clients struct {
	Connections []Connections `json:"connections"`
	Bounced     []Bounced     `json:"bounced"`  // within the last hour
	Excluded    []Excluded    `json:"excluded"` // within the last day
}

// Excluded is one kind of call that the accept setting excludes.
type Excluded struct {
	Kind  string    `json:"kind"`  // its type or its event name, in printable ASCII
	Count uint64    `json:"count"` // since the start, or since the setting last changed
	Since time.Time `json:"since"`
	Last  time.Time `json:"last"`
	Admit string    `json:"admit"` // the line of the configuration that admits it
}

// Connections is how many one kind of listener has, and may have.
type Connections struct {
	Listener    string    `json:"listener"` // socket, http, admin_socket or admin_http
	Open        int       `json:"open"`
	Max         int       `json:"max"`
	ClosedIdle  uint64    `json:"closed_idle"` // the longest idle ones, to make room for others
	TurnedAway  uint64    `json:"turned_away"` // found every place taken and nobody idle
	LastCrowded time.Time `json:"last_crowded,omitzero"`
}

// Bounced is what was turned back for one reason, so that nothing of it is kept,
// since that last began. What clients sent is bounded and in printable ASCII.
type Bounced struct {
	Reason string    `json:"reason"`
	Count  uint64    `json:"count"` // requests, connections, or streams of lines that were ended
	Since  time.Time `json:"since"`
	Last   time.Time `json:"last"`
	Client string    `json:"client,omitempty"` // the user agent, the process or the address of one of the last
	Sample string    `json:"sample,omitempty"` // what that was, and what was answered
}
