package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
)

// Script is a sequence of troubles. In JSON:
//
//	[{"at":"10s","trouble":{"preset":"down"}},
//	 {"at":"40s","trouble":{"preset":"flaky"}},
//	 {"at":"1m","trouble":[]}]
type Script []Scene

// Scene sets a trouble at its time.
type Scene struct {
	At      time.Duration `json:"at"`      // since the script began
	Trouble Trouble       `json:"trouble"` // empty: all is well again
}

// ParseScript reads a Script from JSON and checks it. The error lists
// everything wrong with its scenes.
func ParseScript(data []byte) (Script, error) {
	var script Script
	if err := json.Unmarshal(data, &script, inputFormat()); err != nil {
		return nil, fmt.Errorf("read script: %w", readable(err))
	}
	return script, script.validate()
}

// validate lists everything wrong with the script.
func (s Script) validate() error {
	var errs []error
	var last time.Duration
	for i, scene := range s {
		if scene.At < last {
			errs = append(errs, fmt.Errorf("scene %d: %v comes before %v", i+1, scene.At, last))
		}
		last = scene.At
		if err := scene.Trouble.validate(); err != nil {
			errs = append(errs, fmt.Errorf("scene %d: %w", i+1, err))
		}
	}
	return errors.Join(errs...)
}

// Play sets each trouble of script at its time and returns after the last,
// which stays; or with ctx's error when that ends first. Nothing is played of
// a script that is wrong.
func (s *Server) Play(ctx context.Context, script Script) error {
	if err := script.validate(); err != nil {
		return fmt.Errorf("play script: %w", err)
	}
	start := time.Now()
	for _, scene := range script {
		if !pause(ctx, max(0, time.Until(start.Add(scene.At)))) {
			return ctx.Err()
		}
		if err := s.SetTrouble(scene.Trouble); err != nil {
			return fmt.Errorf("play script: %w", err)
		}
	}
	return nil
}
