//go:build race

package sender_test

// raceDetector tells that these tests run many times slower: what simulates
// long times simulates less, since the paths and their races are the same.
const raceDetector = true
