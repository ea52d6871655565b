//go:build race

package main

// raceDetector tells that these tests, and the daemons they start, run many
// times slower.
const raceDetector = true
