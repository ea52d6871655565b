package event

import (
	"strings"
	"testing"
	"time"
)

// typical is an event of about 430 bytes, as a mobile SDK's proxy sends it.
const typical = `{"type":"track","messageId":"01HQZX3V9N8Y7W6T5S4R3Q2P1M","timestamp":"2024-01-15T10:30:00.000Z",` +
	`"userId":"user_12345","anonymousId":"anon_abc123xyz","event":"Application Opened",` +
	`"properties":{"version":"2.1.0","build":"421","from_background":false,"url":"myapp://promo/summer"},` +
	`"context":{"device":{"token":"0f4a9c","type":"ios","model":"iPhone15,2"},"os":{"name":"iOS","version":"17.2"},` +
	`"locale":"en-GB","timezone":"Europe/London"}}`

// bare is the least an app sends; everything else is filled in.
const bare = `{"event":"Application Opened","userId":"user_12345"}`

func BenchmarkParse(b *testing.B) {
	for _, bench := range []struct{ name, raw string }{{"typical", typical}, {"bare", bare}} {
		b.Run(bench.name, func(b *testing.B) {
			raw, now := []byte(bench.raw), time.Now()
			b.ReportAllocs()
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if _, err := (Parser{}).Parse(raw, now); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func BenchmarkParseBatch(b *testing.B) {
	const items = 100
	body := []byte(`{"context":{"library":{"name":"an-sdk","version":"1.2.3"}},"batch":[` +
		strings.Repeat(typical+",", items-1) + typical + `]}`)
	now := time.Now()
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	arena := make([]byte, 2*len(body))
	for b.Loop() {
		batch, err := OpenBatch(body)
		if err != nil || batch.Len() != items {
			b.Fatal(err)
		}
		free := arena
		for item, ok := batch.Next(); ok; item, ok = batch.Next() {
			parsed, err := (Parser{}).ParseInto(free, item.Raw, now)
			if err != nil {
				b.Fatal(err)
			}
			free = parsed.Rest
		}
	}
	b.ReportMetric(items*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
