package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/proto/kit"
)

// syslog writes messages of RFC 5424 to one server.
type syslog struct {
	Syslog
	facility int
	tls      *tls.Config
	ack      time.Duration
}

const (
	// maxDatagram is what a receiver of syslog over UDP should take (RFC 5426,
	// section 3.2), in octets.
	maxDatagram = 2048
	// maxStream is what receivers of rsyslog's and syslog-ng's default take over
	// TCP, in octets.
	maxStream = 8192
	// maxParam bounds a value of the structured data after escaping, so that all
	// of them fit into a datagram.
	maxParam = 120
	// closeWait is how long to wait for the server to close its side, which is
	// the nearest thing to an acknowledgement that syslog over TCP has.
	closeWait = time.Second
	// refuseWait is how long a datagram may take to be answered by an ICMP error.
	refuseWait = 50 * time.Millisecond
)

// facilities are those of RFC 5424, table 1, that make sense here.
var facilities = map[string]int{"kern": 0, "user": 1, "daemon": 3, "auth": 4, "authpriv": 10, "audit": 13, "alert": 14, "": 16,
	"local0": 16, "local1": 17, "local2": 18, "local3": 19, "local4": 20, "local5": 21, "local6": 22, "local7": 23}

var sdIDForm = regexp.MustCompile(`^[!#-<>-\\^-~]{1,32}$`)

func (cfg Config) syslog(at string, l Syslog) (common, *syslog, error) {
	c, err := cfg.common(at, "syslog", l.Name, l.MinSeverity, l.PerMinute, l.Timeout, syslogTimeout)
	if err != nil {
		return c, nil, err
	}
	if _, port, err := net.SplitHostPort(l.Addr); err != nil || port == "" {
		return c, nil, kit.Hint(fmt.Errorf("%s.addr: %q is not host:port", at, l.Addr), "the usual ports are 514 for udp, 601 for tcp, 6514 for tls")
	}
	s := &syslog{Syslog: l, ack: closeWait}
	switch l.Network {
	case "":
		s.Network = "tcp"
	case "udp", "tcp", "tls":
	default:
		return c, nil, kit.Hint(fmt.Errorf("%s.network: %q is unknown", at, l.Network), "one of udp, tcp, tls")
	}
	var known bool
	if s.facility, known = facilities[l.Facility]; !known {
		return c, nil, fmt.Errorf("%s.facility: %q is unknown", at, l.Facility)
	}
	switch l.Format {
	case "":
		s.Format = formatText
	case formatText, formatCEF, formatECS:
	default:
		return c, nil, kit.Hint(fmt.Errorf("%s.format: %q is unknown", at, l.Format), "one of text, cef, ecs")
	}
	if l.SDID == "" {
		s.SDID = "tapwatch@32473"
	} else if !sdIDForm.MatchString(l.SDID) || !strings.Contains(l.SDID, "@") {
		return c, nil, kit.Hint(fmt.Errorf("%s.sd_id: %q is not the name of a private element", at, l.SDID), "write it as name@number (RFC 5424, section 7.2.2)")
	}
	if s.Hostname == "" {
		s.Hostname = hostname()
	}
	if s.tls, err = l.TLS.Config(); err != nil {
		return c, nil, fmt.Errorf("%s: %w", at, err)
	}
	if s.tls != nil && s.Network != "tls" {
		return c, nil, kit.Hint(fmt.Errorf("%s.tls: is enabled, but network is %s", at, s.Network), "set network to tls")
	}
	if s.tls == nil {
		s.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if s.tls.ServerName == "" {
		s.tls.ServerName, _, _ = net.SplitHostPort(l.Addr)
	}
	return c, s, nil
}

func (s *syslog) send(ctx context.Context, m *message) error {
	network := "tcp"
	if s.Network == "udp" {
		network = "udp"
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, s.Addr)
	if err != nil {
		return fmt.Errorf("syslog: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if s.Network == "udp" {
		return s.datagram(conn, m)
	}
	if s.Network == "tls" {
		secure := tls.Client(conn, s.tls.Clone())
		if err := secure.HandshakeContext(ctx); err != nil {
			return fmt.Errorf("syslog %s: %w", s.Addr, err)
		}
		conn = secure
	}
	return s.stream(conn, m)
}

func (s *syslog) datagram(conn net.Conn, m *message) error {
	if _, err := conn.Write(s.format(m, maxDatagram)); err != nil {
		return fmt.Errorf("syslog: %w", err)
	}
	// UDP acknowledges nothing, but a host where nobody listens may say so.
	_ = conn.SetReadDeadline(time.Now().Add(refuseWait))
	if _, err := conn.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("syslog: %w", err)
	}
	return nil
}

// stream sends one message on a connection of its own: a write into a connection
// that the server has left succeeds, and the message is gone. The server's close
// after ours says that it has read all; a reset says that it may not have.
// Silence counts as taken.
func (s *syslog) stream(conn net.Conn, m *message) error {
	text := s.format(m, maxStream)
	frame := append(strconv.AppendInt(nil, int64(len(text)), 10), ' ') // RFC 6587, section 3.4.1
	if _, err := conn.Write(append(frame, text...)); err != nil {
		return fmt.Errorf("syslog %s: %w", s.Addr, err)
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		if err := half.CloseWrite(); err != nil {
			return fmt.Errorf("syslog %s: %w", s.Addr, err)
		}
	}
	_ = conn.SetReadDeadline(time.Now().Add(s.ack))
	_, err := io.CopyN(io.Discard, conn, maxAnswer)
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return fmt.Errorf("syslog %s: after sending: %w", s.Addr, err)
}

// priority is facility and severity (RFC 5424, section 6.2.1).
func (s *syslog) priority(severity alert.Severity) int {
	level := map[alert.Severity]int{alert.Critical: 2, alert.High: 3, alert.Medium: 4, alert.Low: 5, alert.Info: 6}
	l, known := level[severity]
	if !known {
		l = 5
	}
	return s.facility*8 + l
}

// format writes m as RFC 5424 says, in at most limit octets: what is too long is
// cut from the text, never from the structured data.
func (s *syslog) format(m *message, limit int) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "<%d>1 %s %s tapwatch - %s ", s.priority(m.Severity), m.Updated.UTC().Format("2006-01-02T15:04:05.000Z"),
		headerField(s.Hostname, 255), headerField(m.Detector, 32))
	if s.Format == formatCEF || s.Format == formatECS {
		// No mark of UTF-8 before these: receivers look for CEF: and { there, and
		// RFC 5424 has room for text without it (MSG-ANY).
		const none = "- "
		room := limit - b.Len() - len(none)
		text := m.cef(room)
		if s.Format == formatECS {
			text = string(m.ecs(room))
		}
		b.WriteString(none)
		b.WriteString(text)
		return []byte(b.String())
	}
	b.WriteString("[" + s.SDID)
	score := "unknown"
	if v := number(m.Score); v != nil {
		score = strconv.FormatFloat(*v, 'f', 3, 64)
	}
	for _, p := range []struct{ name, value string }{
		{"key", m.key()}, {"id", m.ID}, {"revision", strconv.FormatUint(uint64(m.Revision), 10)}, {"reason", string(m.reason)},
		{"severity", string(m.Severity)}, {"score", score}, {"actor", m.Actor}, {"victim", m.Victim},
		{"start", m.Start.UTC().Format("2006-01-02T15:04:05.000Z")}, {"end", m.End.UTC().Format("2006-01-02T15:04:05.000Z")},
		{"techniques", strings.Join(m.Techniques, ",")}, {"url", m.link()},
	} {
		if v := escapeParam(p.value); v != "" {
			fmt.Fprintf(&b, ` %s="%s"`, p.name, v)
		}
	}
	b.WriteByte(']')
	text := m.headline()
	mark := ""
	if !ascii(text) {
		mark = "\ufeff" // RFC 5424, section 6.4: says that UTF-8 follows
	}
	if room := limit - b.Len() - 1 - len(mark); room >= 3 {
		b.WriteByte(' ')
		b.WriteString(mark)
		b.WriteString(cut(text, room))
	}
	return []byte(b.String())
}

// headerField keeps the printable ASCII without spaces of text, "-" if nothing
// is left (RFC 5424, section 6: NILVALUE).
func headerField(text string, most int) string {
	var b strings.Builder
	for _, r := range text {
		if r > ' ' && r < 0x7f && b.Len() < most {
			b.WriteRune(r)
		}
	}
	if b.Len() == 0 {
		return "-"
	}
	return b.String()
}

// escapeParam writes a value of structured data: one line, bounded, with the
// three characters escaped that would end it (RFC 5424, section 6.3.3).
func escapeParam(text string) string {
	var b strings.Builder
	for _, r := range clean(text) {
		escaped := r == '"' || r == '\\' || r == ']'
		size := utf8.RuneLen(r)
		if escaped {
			size++
		}
		if b.Len()+size > maxParam {
			break
		}
		if escaped {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func ascii(text string) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
