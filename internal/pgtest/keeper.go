package pgtest

import (
	"fmt"
	"testing"
)

// Keeper is the testing.TB of servers that several tests share: what would end
// with a test ends with End, which TestMain calls.
type Keeper struct {
	testing.TB // nil: what a server calls is below
	cleanups   []func()
}

// End ends the servers.
func (k *Keeper) End() {
	for i := len(k.cleanups) - 1; i >= 0; i-- {
		k.cleanups[i]()
	}
	k.cleanups = nil
}

// Helper implements testing.TB.
func (k *Keeper) Helper() {}

// Cleanup implements testing.TB.
func (k *Keeper) Cleanup(f func()) { k.cleanups = append(k.cleanups, f) }

// Error implements testing.TB.
func (k *Keeper) Error(args ...any) { panic(fmt.Sprint(args...)) }

// Errorf implements testing.TB.
func (k *Keeper) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// Fatal implements testing.TB.
func (k *Keeper) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// Fatalf implements testing.TB.
func (k *Keeper) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// Skip implements testing.TB. Find tells first whether a server can be started.
func (k *Keeper) Skip(args ...any) { panic(fmt.Sprint(args...)) }
