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

// playFloor serves both doors with the least that is durable, until it is
// killed.
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
	d := doors{committer}
	lines, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	web, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.Go(func() error { return http.Serve(web, http.HandlerFunc(d.post)) })
	group.Go(func() error { return d.accept(lines) })
	fmt.Fprintln(os.Stderr, "ready")
	return group.Wait()
}

// doors are both ways into the floor.
type doors struct{ *floor.Committer }

// post makes the body of a POST durable. To a GET it says how many commits
// there were.
func (d doors) post(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		fmt.Fprintln(w, "commits", d.Commits())
		return
	}
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = d.Append(body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte("{}"))
}

func (d doors) accept(ln net.Listener) error {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go d.lines(conn)
	}
}

// lines commits all complete lines at hand and answers how many there are.
func (d doors) lines(conn net.Conn) {
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
		if d.Append(events...) != nil {
			return
		}
		total += len(events)
		if _, err := fmt.Fprintf(conn, "{\"accepted\":%d}\n", total); err != nil {
			return
		}
	}
}
