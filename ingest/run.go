package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// Listeners are the listeners to serve. Run closes them.
type Listeners struct {
	Lines []net.Listener // NDJSON streams
	HTTP  []net.Listener
}

// Run serves listeners until ctx ends or a listener fails, which is its error. Then
// it takes no more connections, reads what their clients have already sent,
// answers it and closes them, for at most Options.ShutdownTimeout. When it
// returns, all its goroutines are gone. It may be called once.
func (s *Server) Run(ctx context.Context, listeners Listeners) error {
	defer s.kill()
	group, stopping := errgroup.WithContext(ctx)
	for _, ln := range listeners.Lines {
		group.Go(func() error { return s.serveLines(stopping, ln) })
	}
	for _, ln := range listeners.HTTP {
		group.Go(func() error { return s.serveHTTP(stopping, ln) })
	}
	group.Go(func() error { // no listeners are no reason to end
		<-stopping.Done()
		return nil
	})

	var watch sync.WaitGroup
	ended := make(chan struct{})
	watch.Go(func() { s.limitStop(stopping, ended) })
	err := group.Wait()
	close(ended)
	watch.Wait()
	return err
}

// limitStop cuts everything off when stopping takes too long.
func (s *Server) limitStop(stopping context.Context, ended <-chan struct{}) {
	<-stopping.Done()
	select {
	case <-ended:
	case <-time.After(s.opts.ShutdownTimeout):
		s.opts.Log.Warn("clients are cut off, stopping took too long", "after", s.opts.ShutdownTimeout)
		s.kill()
	}
}

// serveLines serves one socket until stopping ends.
func (s *Server) serveLines(stopping context.Context, ln net.Listener) error {
	stopping, stop := context.WithCancel(stopping)
	var conns sync.WaitGroup
	defer conns.Wait()
	defer stop() // a listener that failed ends its clients too
	defer ln.Close()
	defer context.AfterFunc(stopping, func() { stopAccepting(ln) })()
	for {
		nc, err := s.accept(stopping, ln)
		switch {
		case err == nil:
			s.welcome(stopping, nc, &conns)
		case stopping.Err() != nil: // the shutdown closed the listener
			return nil
		default:
			return fmt.Errorf("accept on %v: %w", ln.Addr(), err)
		}
	}
}

// stopAccepting ends a waiting Accept. Clients whose connection the kernel has
// already made are let in first, where the listener can do that.
func stopAccepting(ln net.Listener) {
	timed, ok := ln.(interface{ SetDeadline(time.Time) error })
	if !ok || timed.SetDeadline(time.Now().Add(stopReadWait)) != nil {
		ln.Close()
	}
}

// accept is ln.Accept, except that it waits out a shortage of descriptors or
// memory.
func (s *Server) accept(stopping context.Context, ln net.Listener) (net.Conn, error) {
	const pause = 100 * time.Millisecond
	for short := false; ; short = true {
		nc, err := ln.Accept()
		if !isShortage(err) {
			return nc, err
		}
		if !short {
			s.opts.Log.Warn("a connection cannot be accepted, will try again", "error", err)
		}
		select {
		case <-time.After(pause):
		case <-stopping.Done():
		}
		if stopping.Err() != nil {
			return nil, err
		}
	}
}

// isShortage reports whether err, from Accept, will pass.
func isShortage(err error) bool {
	for _, passing := range []error{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED,
	} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// welcome serves nc in a goroutine of conns, or turns it away.
func (s *Server) welcome(stopping context.Context, nc net.Conn, conns *sync.WaitGroup) {
	limit := s.rules.Load().MaxSocketConns
	if s.socketConns.enter(limit) == 0 {
		conns.Go(func() {
			defer s.socketConns.leave()
			s.serveConn(stopping, nc)
		})
		return
	}
	defer s.socketConns.leave()
	defer nc.Close()
	nc.SetWriteDeadline(time.Now().Add(stopReadWait)) // a fresh socket has room; whatever happens, others wait
	text := appendJSON(nil, notice{Code: codeTooMany, Message: fmt.Sprintf(
		"all %d connections are in use; nothing was read, try again later", limit)})
	if _, err := nc.Write(append(text, '\n')); err != nil {
		s.opts.Log.Debug("socket client turned away unable to be told why", "error", err)
	}
}

// serveHTTP serves one HTTP listener until stopping ends.
func (s *Server) serveHTTP(stopping context.Context, ln net.Listener) error {
	var conns sync.WaitGroup
	srv := s.newHTTPServer(&conns)
	var failed error
	served := make(chan struct{})
	go func() {
		defer close(served)
		failed = srv.Serve(ln)
	}()
	select {
	case <-served:
	case <-stopping.Done():
	}
	if srv.Shutdown(s.cut) != nil { // it took too long
		srv.Close()
	}
	<-served
	conns.Wait()
	if errors.Is(failed, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve http on %v: %w", ln.Addr(), failed)
}

// newHTTPServer returns a server for one listener that adds its connections to
// conns.
func (s *Server) newHTTPServer(conns *sync.WaitGroup) *http.Server {
	return &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: min(10*time.Second, s.opts.RequestTimeout),
		ReadTimeout:       s.opts.RequestTimeout,
		WriteTimeout:      s.opts.RequestTimeout + 2*time.Minute, // a slow disk may take its time
		IdleTimeout:       s.opts.IdleTimeout,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.opts.Log.Handler(), slog.LevelDebug),
		ConnContext:       s.enterHTTP,
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				conns.Add(1)
			case http.StateClosed:
				s.httpConns.leave()
				conns.Done()
			}
		},
	}
}

// overflow is how many HTTP connections beyond the limit are kept for as long
// as it takes to answer them 503. What is beyond that is closed at once.
const overflow = 64

// turnedAway marks the context of an HTTP connection beyond the limit.
type turnedAway struct{}

// enterHTTP counts nc, which net/http has just accepted.
func (s *Server) enterHTTP(ctx context.Context, nc net.Conn) context.Context {
	beyond := s.httpConns.enter(s.rules.Load().MaxHTTPConns)
	if beyond > overflow {
		nc.Close()
	}
	if beyond > 0 {
		return context.WithValue(ctx, turnedAway{}, true)
	}
	return ctx
}
