package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"trackd/internal/bench/floor"
)

// playFloor serves a socket and HTTP with the least that is durable, until it
// is killed.
//
//	floor DIR SOCKET ADDRESS
func playFloor(_ context.Context, args []string) error {
	var dir, socket, address string
	if err := scan(args, &dir, &socket, &address); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	committer, err := floor.Open(filepath.Join(dir, "floor.db"))
	if err != nil {
		return err
	}
	f := floorServer{committer}
	lines, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	requests, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.Go(func() error { return http.Serve(requests, http.HandlerFunc(f.post)) })
	group.Go(func() error { return f.accept(lines) })
	fmt.Fprintln(os.Stderr, "ready")
	return group.Wait()
}

// floorServer takes events into the floor.
type floorServer struct{ *floor.Committer }

// post makes the body of a request durable.
func (f floorServer) post(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = f.Append(body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte("{}"))
}

func (f floorServer) accept(ln net.Listener) error {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go f.lines(conn)
	}
}

// lines commits all complete lines at hand and answers how many there are.
func (f floorServer) lines(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 256<<10)
	total := 0
	for {
		first, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		events := [][]byte{first}
		for len(events) < 1000 {
			ahead, _ := in.Peek(in.Buffered())
			end := bytes.IndexByte(ahead, '\n')
			if end < 0 {
				break
			}
			events = append(events, bytes.Clone(ahead[:end+1]))
			_, _ = in.Discard(end + 1)
		}
		if f.Append(events...) != nil {
			return
		}
		total += len(events)
		if _, err := fmt.Fprintf(conn, "{\"accepted\":%d}\n", total); err != nil {
			return
		}
	}
}
