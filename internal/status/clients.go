package status

import "time"

// Clients is how those who send events, and those who look, get in.
type Clients struct {
	Connections []Connections `json:"connections"`
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
