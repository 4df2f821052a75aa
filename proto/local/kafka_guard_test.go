package local

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// bytesConn is a connection whose other side has sent everything and left.
type bytesConn struct {
	net.Conn
	r *bytes.Reader
}

func (c bytesConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// FuzzGuardedConn: what comes out is what went in, as far as it is made of
// whole heads of known requests.
func FuzzGuardedConn(f *testing.F) {
	frame := func(size uint32, key, version uint16, rest string) []byte {
		b := binary.BigEndian.AppendUint32(nil, size)
		b = binary.BigEndian.AppendUint16(b, key)
		b = binary.BigEndian.AppendUint16(b, version)
		return append(b, rest...)
	}
	good := frame(12, 18, 0, "\x00\x00\x00\x07\x00\x02id")
	f.Add(good, 1)
	f.Add(append(bytes.Clone(good), good...), 5)
	f.Add(append(bytes.Clone(good), frame(10, 999, 0, "\x00\x00\x00\x07\x00\x00")...), 3)
	f.Add(frame(0xffffffff, 3, 1, "\x00\x00\x00\x07\x00\x00"), 64)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), 64)
	f.Fuzz(func(t *testing.T, in []byte, step int) {
		c := &guardedConn{Conn: bytesConn{r: bytes.NewReader(in)}}
		buf := make([]byte, max(1, min(step, 4096)))
		var out []byte
		for {
			n, err := c.Read(buf)
			out = append(out, buf[:n]...)
			if err != nil {
				break
			}
		}
		if !bytes.HasPrefix(in, out) {
			t.Fatalf("passed on %x of %x", out, in)
		}
		for len(out) > 0 {
			if len(out) < 4+requestHeaderBytes {
				t.Fatalf("half a head passed on: %x", out)
			}
			size := int(binary.BigEndian.Uint32(out))
			if size > requestMaxBytes || kmsg.RequestForKey(int16(binary.BigEndian.Uint16(out[4:]))) == nil {
				t.Fatalf("passed on %x", out[:14])
			}
			out = out[min(len(out), 4+size):]
		}
	})
}

func TestGuardedConnPassesAll(t *testing.T) {
	one := append([]byte{0, 0, 0, 20, 0, 3, 0, 1, 0, 0, 0, 1, 0, 0}, "0123456789"...)
	in := bytes.Repeat(one, 3)
	c := &guardedConn{Conn: bytesConn{r: bytes.NewReader(in)}}
	out, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(out, in) {
		t.Errorf("got %x and %v, want %x", out, err, in)
	}
}

func FuzzParseKafkaConfig(f *testing.F) {
	f.Add([]byte(`{"Dir":"/x","Port":1,"Topics":{"flows":3},"Sync":true,"RetentionBytes":-1}`))
	f.Add([]byte(`{"dirs":1}`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, text []byte) {
		if cfg, err := parseKafkaConfig(text); err != nil && (cfg.Dir != "" || cfg.Topics != nil) {
			t.Error("an error and a configuration")
		}
	})
}
