//go:build bboltstrike

package boltqueue_test

import bolt "go.etcd.io/bbolt"

// Only a bbolt patched by crash_bbolt_test.go has Strike.
func init() {
	hookBolt = func(fault func(point string, after bool) error) { bolt.Strike = fault }
}
