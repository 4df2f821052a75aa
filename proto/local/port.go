package local

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
)

// Ports that we choose ourselves come from below the ephemeral range of Linux
// (32768 and up, ip_local_port_range): a server that restarts must find its
// port free again, and not taken by some client's outgoing connection.
const (
	portLow  = 15000
	portHigh = 32000
)

// loopback is the only address the local servers listen on.
const loopback = "127.0.0.1"

// hostPort is the loopback address with the port.
func hostPort(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }

// checkPort reports whether the port can be listened on, in one clear line if
// it cannot. what names the port for the operator, for example "clickhouse native".
func checkPort(what string, port int) error {
	if port < 1 || port > 65535 {
		return fmt.Errorf("listen %s port %d: not between 1 and 65535", what, port)
	}
	ln, err := net.Listen("tcp4", hostPort(port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listen %s port %d: %w: stop that program or choose another port", what, port, ErrInUse)
	}
	if err != nil {
		return fmt.Errorf("listen %s port %d: %w", what, port, err)
	}
	return ln.Close()
}

// freePort returns a port that could be listened on a moment ago.
func freePort(what string) (int, error) {
	var err error
	for range 64 {
		port := portLow + rand.IntN(portHigh-portLow)
		if err = checkPort(what, port); err == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("find free port from %d to %d: %w", portLow, portHigh, err)
}

// choosePort checks a port that was asked for, or finds one if it is 0.
func choosePort(what string, port int) (int, error) {
	if port == 0 {
		return freePort(what)
	}
	return port, checkPort(what, port)
}
