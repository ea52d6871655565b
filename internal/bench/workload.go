package main

import "fmt"

const (
	// typical is about the size of an event as an SDK sends it, in bytes. sample
	// makes it with the fields that are usual.
	typical = 464

	// workloadBytes bounds the workloads of one client process together.
	workloadBytes = 4 << 20
)

// sample appends the n-th event of a client, with a messageId of its own, of
// about size bytes, at least 200. It concerns one of so many persons, in turn;
// with 0, one of its own.
func sample(dst []byte, size, client, n, persons int) []byte {
	start := len(dst)
	userID, anonymousID := n*7919%100_000_000, n
	if persons > 0 {
		userID, anonymousID = n%persons, n%persons
	}
	dst = fmt.Appendf(dst, `{"type":"track","event":"Application Opened","messageId":"bench-%04d-%012d","userId":"user-%08d",`,
		client, n, userID)
	if size == typical {
		return fmt.Appendf(dst, `"anonymousId":"9f2c51d4-6a0e-4d1b-8b1e-%012d","timestamp":"2026-01-15T10:30:%02d.%03dZ",`+
			`"properties":{"from_background":false,"version":"2.14.%d","build":"%d"},"context":{"app":{"name":"Shop","version":"2.14.0"},`+
			`"device":{"id":"b5a1","model":"Pixel 8","token":"f00d%08x","type":"android"},"locale":"de-DE","os":{"name":"Android","version":"14"}}}`,
			anonymousID, n/1000%60, n%1000, n%40, 4000+n%500, uint32(n*2654435761))
	}
	dst = fmt.Appendf(dst, `"timestamp":"2026-01-15T10:30:%02d.%03dZ","properties":{"note":"`, n/1000%60, n%1000)
	for random := uint64(client)<<32 + uint64(n) + 1; len(dst) < start+size-3; { // xorshift: text that hardly compresses
		random ^= random << 13
		random ^= random >> 7
		random ^= random << 17
		dst = append(dst, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"[random>>58])
	}
	return append(dst, `"}}`...)
}

// workload is what a client sends, made ahead and sent again and again, so that
// sending costs no more than the write. It is long enough that no two copies of
// an event get into one compressed block.
type workload struct {
	text []byte
	ends []int // of each piece in text
}

// newWorkload holds events of one of clients, at least 32, as write appends them.
func newWorkload(clients, client, size int, write func(dst, event []byte) []byte) workload {
	var w workload
	var event []byte
	for n := 0; n < 32 || len(w.text) < workloadBytes/clients; n++ {
		event = sample(event[:0], size, client, n, 0)
		w.text = write(w.text, event)
		w.ends = append(w.ends, len(w.text))
	}
	return w
}

func appendBody(dst, event []byte) []byte { return append(dst, event...) }
func appendLine(dst, event []byte) []byte { return append(append(dst, event...), '\n') }
func appendRequest(dst, event []byte) []byte {
	dst = fmt.Appendf(dst, "POST /v1/track HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(event))
	return append(dst, event...)
}

// pieces returns the pieces from n on, up to most of them, fewer where the
// workload ends, and how many they are.
func (w workload) pieces(n, most uint64) ([]byte, uint64) {
	first := n % uint64(len(w.ends))
	most = min(most, uint64(len(w.ends))-first)
	begin := 0
	if first > 0 {
		begin = w.ends[first-1]
	}
	return w.text[begin:w.ends[first+most-1]], most
}
