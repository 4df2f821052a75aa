package ops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// Listen opens a TCP port. Its error names the address and, where an operator
// can do something, says what.
func Listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, kit.Hint(fmt.Errorf("listen %s: %w", address, syscall.EADDRINUSE),
			"another process has this port: stop it, or set another listen address")
	case errors.Is(err, syscall.EACCES):
		return nil, kit.Hint(fmt.Errorf("listen %s: %w", address, syscall.EACCES), "choose a port of 1024 or more")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, kit.Hint(fmt.Errorf("listen %s: %w", address, syscall.EADDRNOTAVAIL), "this machine does not have that address")
	case err != nil:
		return nil, fmt.Errorf("listen %s: %w", address, err)
	}
	return l, nil
}

// Serve answers on l until ctx ends, then lets running answers finish for up to
// 3 s, breaks off the others, closes the port and returns nil. What a scanner
// sends to the port is no event of ours: server logs nothing.
func Serve(ctx context.Context, l net.Listener, server *http.Server) error {
	server.ErrorLog = log.New(io.Discard, "", 0)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if server.Shutdown(patience) != nil {
		_ = server.Close()
	}
	<-served
	return nil
}
