package sandbox

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Preset is a rule with a name.
type Preset struct {
	Name string
	Says string // what happens, in a line
	Rule Rule
}

// Presets lists all presets in the order of the package documentation.
func Presets() []Preset {
	do := func(name, says string, do Action) Preset {
		return Preset{Name: name, Says: says, Rule: Rule{Do: do}}
	}
	const pause = 2 * time.Second
	html := map[string]string{"Content-Type": "text/html; charset=utf-8"}
	page := "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><h1>Sign in to the network</h1></body></html>\n"
	documented := Limit{Calls: 3000, Per: 3 * time.Second}

	flaky := do("flaky", "503 for 3 calls in 10", Action{Status: http.StatusServiceUnavailable})
	flaky.Rule.Rate = 0.3
	busy := do("busy", "429 for what exceeds 3,000 calls in 3 s", Action{Status: http.StatusTooManyRequests})
	busy.Rule.Over = documented
	lossy := do("lossy", "200 for what exceeds 3,000 calls in 3 s, and drops it", Action{Status: http.StatusOK})
	lossy.Rule.Over = documented

	return []Preset{
		do("well", "the documented answer; spares what later rules would hit", Action{}),
		do("down", "the connection is closed without an answer", Action{End: Close}),
		do("slow", "the documented answer, after 2 s", Action{Delay: pause}),
		do("hang", "no answer until the client gives up", Action{End: Hang}),
		do("reset", "the connection is reset before an answer", Action{End: Reset}),
		do("reset_midway", "the connection is reset amid a 200", Action{End: CutReset}),
		do("cut", "a 200 is cut off amid its body", Action{End: Cut}),
		do("answer_lost", "the event is accepted, then the connection is reset", Action{Store: true, End: Reset}),
		do("unauthorized", "401, as for a wrong key", Action{Status: http.StatusUnauthorized}),
		do("forbidden", "403", Action{Status: http.StatusForbidden}),
		do("not_found", "404", Action{Status: http.StatusNotFound}),
		do("throttled", "429 without Retry-After", Action{Status: http.StatusTooManyRequests}),
		do("retry_after", "429 with Retry-After: 2", Action{Status: http.StatusTooManyRequests, RetryAfter: pause}),
		do("retry_at", "429 with Retry-After as a date 2 s ahead", Action{Status: http.StatusTooManyRequests, RetryAt: pause}),
		do("unavailable", "503", Action{Status: http.StatusServiceUnavailable}),
		flaky,
		do("refuse", "400 with a JSON body, as for a bad event", Action{Status: http.StatusBadRequest}),
		do("poison", "500", Action{Status: http.StatusInternalServerError}),
		do("proxy_ok", "200 with a proxy's HTML page", Action{Status: http.StatusOK, Header: html, Body: page}),
		do("proxy_bad", "400 with a proxy's HTML page", Action{Status: http.StatusBadRequest, Header: html, Body: page}),
		do("redirect", "302 to a sign-in page", Action{Status: http.StatusFound, Header: map[string]string{"Location": "/sign-in"}}),
		busy,
		lossy,
	}
}

// preset returns the rule of that name.
func preset(name string) (Rule, error) {
	var names []string
	for _, p := range Presets() {
		if p.Name == name {
			return p.Rule, nil
		}
		names = append(names, p.Name)
	}
	return Rule{}, fmt.Errorf("there is no preset %q; there are %s", name, strings.Join(names, ", "))
}
