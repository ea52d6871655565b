package main

import "fmt"

// tapeBytes bounds the tapes of one client process together.
const tapeBytes = 4 << 20

// tape is what a client sends, made ahead and played round and round, so that
// sending costs no more than the write. It is long enough that no two copies of
// an event get into one compressed block.
type tape struct {
	text []byte
	ends []int // of each piece in text
}

// newTape has as many pieces as one of clients may have, at least 32.
func newTape(clients int, piece func(dst []byte, n int) []byte) tape {
	var t tape
	for n := 0; n < 32 || len(t.text) < tapeBytes/clients; n++ {
		t.text = piece(t.text, n)
		t.ends = append(t.ends, len(t.text))
	}
	return t
}

// lineTape holds events as the socket takes them.
func lineTape(clients, client, size int) tape {
	return newTape(clients, func(dst []byte, n int) []byte { return append(sample(dst, size, client, n), '\n') })
}

// requestTape holds events as HTTP requests.
func requestTape(clients, client int) tape {
	var body []byte
	return newTape(clients, func(dst []byte, n int) []byte {
		body = sample(body[:0], typical, client, n)
		dst = fmt.Appendf(dst, "POST /v1/track HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body))
		return append(dst, body...)
	})
}

// pieces returns the pieces from n on, up to most of them, fewer where the tape
// ends, and how many they are.
func (t tape) pieces(n, most uint64) ([]byte, uint64) {
	first := n % uint64(len(t.ends))
	most = min(most, uint64(len(t.ends))-first)
	begin := 0
	if first > 0 {
		begin = t.ends[first-1]
	}
	return t.text[begin:t.ends[first+most-1]], most
}
