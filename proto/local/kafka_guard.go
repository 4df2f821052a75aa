package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// requestMaxBytes bounds a request: the largest batch and room around it.
const requestMaxBytes = messageMaxBytes + 1<<20

// requestHeaderBytes is what every request has after its size: API key and
// version (2 bytes each), correlation id (4) and the length of the client id
// (2), by the Kafka protocol's request header 1.
const requestHeaderBytes = 10

// errNotKafka ends a connection whose bytes are no Kafka request.
var errNotKafka = errors.New("not a kafka request")

// listenGuarded listens for the broker, which believes every size it is told
// and would allocate 4 GiB, and which panics on an unknown API key.
func listenGuarded(network, address string) (net.Listener, error) {
	ln, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	return guardedListener{ln}, nil
}

type guardedListener struct{ net.Listener }

// Accept returns a connection that reads only sane requests. It blocks.
func (l guardedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &guardedConn{Conn: conn}, nil
}

// guardedConn passes the bytes of requests on once their header has been
// checked. One goroutine reads it.
type guardedConn struct {
	net.Conn
	head [4 + requestHeaderBytes]byte // size and header of the request that comes next
	have int                          // bytes of head that have been read
	sent int                          // bytes of head that have been passed on
	left int                          // bytes of the request that follow head
}

// Read is net.Conn's; errNotKafka says that the client must be hung up on.
func (c *guardedConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.have == len(c.head) && c.sent == len(c.head) && c.left == 0 {
		c.have, c.sent = 0, 0
	}
	for c.have < len(c.head) {
		n, err := c.Conn.Read(c.head[c.have:])
		c.have += n
		if c.have == len(c.head) {
			if c.left, err = checkRequest(c.head); err != nil {
				c.left = 0
				c.have, c.sent = 0, 0
				return 0, err
			}
			break
		}
		if err != nil {
			return 0, err // a torn header is of no use to the broker
		}
	}
	if c.sent < len(c.head) {
		n := copy(p, c.head[c.sent:])
		c.sent += n
		return n, nil
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// checkRequest returns how many bytes of the request follow its head.
func checkRequest(head [4 + requestHeaderBytes]byte) (int, error) {
	size := binary.BigEndian.Uint32(head[:4])
	if size < requestHeaderBytes || size > requestMaxBytes {
		return 0, fmt.Errorf("read size %d: %w", size, errNotKafka)
	}
	key := int16(binary.BigEndian.Uint16(head[4:6]))
	req := kmsg.RequestForKey(key)
	if req == nil {
		return 0, fmt.Errorf("read API key %d: %w", key, errNotKafka)
	}
	version := int16(binary.BigEndian.Uint16(head[6:8]))
	// ApiVersions is how a client finds out what is spoken: the broker answers
	// any version of it. Of the others, none that it could not parse.
	if _, discover := req.(*kmsg.ApiVersionsRequest); version < 0 || version > req.MaxVersion() && !discover {
		return 0, fmt.Errorf("read API key %d version %d: %w", key, version, errNotKafka)
	}
	return int(size) - requestHeaderBytes, nil
}
