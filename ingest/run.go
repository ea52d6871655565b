package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"trackd/internal/listen"
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
	bounded := s.opts.SocketConns.Listener(ln)
	defer context.AfterFunc(stopping, func() { stopAccepting(bounded) })()
	for {
		nc, err := bounded.Accept()
		switch {
		case err != nil && stopping.Err() != nil: // the shutdown closed the listener
			return nil
		case err != nil:
			return fmt.Errorf("accept on %v: %w", ln.Addr(), err)
		}
		c := nc.(*listen.Conn)
		if !c.TurnedAway() {
			conns.Go(func() { s.serveConn(stopping, c) })
			continue
		}

		// Nobody is idle, so this client cannot take anybody's place.
		nc.SetWriteDeadline(time.Now().Add(stopReadWait)) // a fresh socket has room; whatever happens, others wait
		text := appendJSON(nil, notice{Code: codeTooMany, Message: fmt.Sprintf(
			"all %d connections are in use; nothing was read, try again later", s.opts.SocketConns.Max())})
		if _, err := nc.Write(append(text, '\n')); err != nil {
			s.opts.Log.Debug("socket client turned away unable to be told why", "error", err)
		}
		nc.Close()
		s.bounced.note(codeTooMany, func() (string, string) { return c.Peer(), "a connection to the socket" })
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

// serveHTTP serves one HTTP listener until stopping ends.
func (s *Server) serveHTTP(stopping context.Context, ln net.Listener) error {
	var conns sync.WaitGroup
	tcp := ln.Addr().Network() == "tcp"
	srv := s.newHTTPServer(&conns, tcp)
	accepting := httpListener{Listener: s.opts.HTTPConns.Listener(ln), server: s}
	if tcp && s.opts.TLS != nil {
		accepting.tls = s.opts.TLS.Config()
	}
	var failed error
	served := make(chan struct{})
	go func() {
		defer close(served)
		failed = srv.Serve(accepting)
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
func (s *Server) newHTTPServer(conns *sync.WaitGroup, tcp bool) *http.Server {
	return &http.Server{
		Handler:           s.serverHandler(tcp),
		ReadHeaderTimeout: min(10*time.Second, s.opts.RequestTimeout),
		ReadTimeout:       s.opts.RequestTimeout,
		WriteTimeout:      s.opts.RequestTimeout + 2*time.Minute, // a slow disk may take its time
		IdleTimeout:       s.opts.IdleTimeout,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.opts.Log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, nc.(*httpConn))
		},
		ConnState: func(nc net.Conn, state http.ConnState) {
			c := nc.(*httpConn)
			switch state {
			case http.StateNew:
				conns.Add(1)
			case http.StateIdle:
				c.next()
			case http.StateClosed:
				conns.Done()
			}
			listen.NoteState(c.place, state)
		},
	}
}

// connKey is the key under which the context of a request holds its *httpConn.
type connKey struct{}
