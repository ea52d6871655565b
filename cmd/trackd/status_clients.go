package main

import (
	"fmt"
	"strings"
	"time"

	"trackd/internal/status"
)

// recently is how long trouble with clients is shown after it was last seen.
const recently = time.Hour

// clientRows tells of clients that had trouble getting in within the last hour.
func clientRows(c status.Clients) (rows [][2]string) {
	var crowded []string
	for _, l := range c.Connections {
		if time.Since(l.LastCrowded) < recently {
			crowded = append(crowded, fmt.Sprintf("%s: %d of %d in use, all of them %s ago; since the start %d idle ones closed for others, %d turned away",
				l.Listener, l.Open, l.Max, ago(l.LastCrowded), l.ClosedIdle, l.TurnedAway))
		}
	}
	if len(crowded) > 0 {
		rows = append(rows, [2]string{"clients", strings.Join(crowded, "\n")})
	}

	var bounced []string
	for _, b := range c.Bounced {
		line := fmt.Sprintf("%s: %d turned back since %s, last %s ago", b.Reason, b.Count, b.Since.Format(time.DateTime), ago(b.Last))
		if b.Client != "" {
			line += " from " + b.Client
		}
		bounced = append(bounced, line, "  "+b.Sample)
	}
	if len(bounced) > 0 {
		rows = append(rows, [2]string{"bounced", strings.Join(bounced, "\n")})
	}

	const most = 3
	var excluded []string
	for i, e := range c.Excluded {
		if i == most {
			excluded = append(excluded, fmt.Sprintf("and %d more kinds", len(c.Excluded)-most))
			break
		}
		excluded = append(excluded, fmt.Sprintf("%s: %d, last %s ago; to send such events set %s and reload", e.Kind, e.Count, ago(e.Last), e.Admit))
	}
	if len(excluded) > 0 {
		rows = append(rows, [2]string{"excluded", strings.Join(excluded, "\n")})
	}
	return rows
}
