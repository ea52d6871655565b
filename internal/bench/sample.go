package main

import "fmt"

// typical is about the size of an event as an SDK sends it, in bytes. sample
// makes it with the fields that are usual.
const typical = 464

// sample appends the n-th event of a client, with a messageId of its own, of
// about size bytes, at least 200.
func sample(dst []byte, size, client, n int) []byte {
	if size == typical {
		return usual(dst, client, n)
	}
	start := len(dst)
	dst = fmt.Appendf(dst, `{"type":"track","event":"Application Opened","messageId":"bench-%04d-%012d","userId":"user-%08d",`+
		`"timestamp":"2026-01-15T10:30:%02d.%03dZ","properties":{"note":"`, client, n, n*7919%100_000_000, n/1000%60, n%1000)
	for dice := uint64(client)<<32 + uint64(n) + 1; len(dst) < start+size-3; { // xorshift: text that hardly compresses
		dice ^= dice << 13
		dice ^= dice >> 7
		dice ^= dice << 17
		dst = append(dst, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"[dice>>58])
	}
	return append(dst, `"}}`...)
}

func usual(dst []byte, client, n int) []byte {
	return fmt.Appendf(dst, `{"type":"track","event":"Application Opened","messageId":"bench-%04d-%012d","userId":"user-%08d",`+
		`"anonymousId":"9f2c51d4-6a0e-4d1b-8b1e-%012d","timestamp":"2026-01-15T10:30:%02d.%03dZ",`+
		`"properties":{"from_background":false,"version":"2.14.%d","build":"%d"},"context":{"app":{"name":"Shop","version":"2.14.0"},`+
		`"device":{"id":"b5a1","model":"Pixel 8","token":"f00d%08x","type":"android"},"locale":"de-DE","os":{"name":"Android","version":"14"}}}`,
		client, n, n*7919%100_000_000, n, n/1000%60, n%1000, n%40, 4000+n%500, uint32(n*2654435761))
}
