//go:build !linux

package main

import (
	"errors"
	"os"
	"time"
)

var errNotLinux = errors.New("what a process uses can only be measured on Linux")

func cpuOf(int) (time.Duration, error) { return 0, errNotLinux }

func memoryOf(int) (figures, error) { return nil, errNotLinux }

// syncData makes what was written to f durable.
func syncData(f *os.File) error { return f.Sync() }
