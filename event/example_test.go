package event_test

import (
	"errors"
	"fmt"
	"time"

	"trackd/event"
)

func ExampleParser_Parse() {
	now := time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC)
	raw := []byte(`{"event":"Application Opened","userId":42,"messageId":"m-1","sentAt":"…","properties":{"build":421,"version":null,"screen":"home"}}`)

	ev, err := event.Parser{}.Parse(raw, now)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(ev.ID, ev.Name)
	fmt.Println(string(ev.Body))
	// Output:
	// m-1 Application Opened
	// {"event":"Application Opened","userId":"42","messageId":"m-1","properties":{"build":"421","screen":"home"},"type":"track","timestamp":"2024-01-15T10:30:00.000Z"}
}

func ExampleParser_Parse_rejected() {
	raw := []byte(`{"event":"application opened","timestamp":1705314600}`)

	_, err := event.Parser{}.Parse(raw, time.Now())
	if refused, ok := errors.AsType[*event.Error](err); ok {
		fmt.Println(refused.Code)
		for _, text := range refused.Texts() {
			fmt.Println("-", text)
		}
	}
	// Output:
	// not_lifecycle
	// - event: found "application opened", allowed one of the seven lifecycle events (did you mean "Application Opened"?); the setting accept: track admits any name
	// - timestamp: found 1705314600, allowed an RFC 3339 time with offset such as "2024-01-15T10:30:00.000Z"; a number would be read as milliseconds, and Unix seconds become a day in 1970
	// - userId: found neither userId nor anonymousId nor groupId, allowed at least one of them, as a non-empty string
}

func ExampleOpenBatch() {
	now := time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC)
	batch, err := event.OpenBatch([]byte(`{
		"context": {"library": {"name": "an-sdk"}},
		"batch": [
			{"type":"track","event":"Application Crashed","userId":"p","messageId":"m-1","timestamp":"2024-01-15T10:29:58Z"},
			{"type":"track","event":"Application Crashed","userId":"p","properties":{"memory":NaN}},
			{"type":"identify","userId":"p"}
		]
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	for item, ok := batch.Next(); ok; item, ok = batch.Next() {
		ev, err := event.Parser{}.Parse(item.Raw, now)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(string(ev.Body))
	}
	// Output:
	// {"type":"track","event":"Application Crashed","userId":"p","messageId":"m-1","timestamp":"2024-01-15T10:29:58Z","context":{"library": {"name": "an-sdk"}}}
	// malformed: found invalid character 'N' at start of value at byte 82, allowed one JSON object in valid UTF-8 with unique keys
	// not_lifecycle: type: found "identify", allowed "track"; the setting accept: all admits every call
}
