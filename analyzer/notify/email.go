package notify

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net"
	"os"
	"strings"
	"time"

	"github.com/wneessen/go-mail"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// email hands messages to one mail server.
type email struct {
	Email
	tls  *tls.Config
	page *template.Template
}

const (
	securityStartTLS = "starttls"
	securityTLS      = "tls"
	securityNone     = "none"
)

func (cfg Config) email(at string, e Email) (common, *email, error) {
	c, err := cfg.common(at, "email", e.Name, e.MinSeverity, e.PerMinute, e.Timeout, emailTimeout)
	if err != nil {
		return c, nil, err
	}
	if e.Host == "" || strings.ContainsAny(e.Host, "/ \t\r\n") {
		return c, nil, kit.Hint(fmt.Errorf("%s.host: %q is not the name of a mail server", at, e.Host), "write it as mail.example.org, the port goes into port")
	}
	standard := map[string]uint16{"": 587, securityStartTLS: 587, securityTLS: 465, securityNone: 25}
	port, known := standard[e.Security]
	if !known {
		return c, nil, kit.Hint(fmt.Errorf("%s.security: %q is unknown", at, e.Security), "one of starttls, tls, none")
	}
	if e.Port == 0 {
		e.Port = port
	}
	if e.Security == "" {
		e.Security = securityStartTLS
	}
	if (e.Username == "") != (e.Password == "") {
		return c, nil, fmt.Errorf("%s: username and password are only good together", at)
	}
	if e.Security == securityNone && e.Password != "" {
		return c, nil, kit.Hint(fmt.Errorf("%s.password: would be sent in the clear", at), "set security to starttls or tls")
	}
	if e.Security == securityNone && e.TLS.Enabled {
		return c, nil, fmt.Errorf("%s.tls: is enabled, but security is none", at)
	}
	if err := checkAddress(at+".from", e.From); err != nil {
		return c, nil, err
	}
	if len(e.To) == 0 {
		return c, nil, fmt.Errorf("%s.to: nobody", at)
	}
	for _, to := range e.To {
		if err := checkAddress(at+".to", to); err != nil {
			return c, nil, err
		}
	}
	m := &email{Email: e}
	if m.tls, err = e.TLS.Config(); err != nil {
		return c, nil, fmt.Errorf("%s: %w", at, err)
	}
	if m.tls == nil {
		m.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if m.tls.ServerName == "" {
		m.tls.ServerName = e.Host
	}
	if m.HELO == "" {
		m.HELO = hostname()
	}
	if m.page, err = template.New("mail").Parse(mailPage); err != nil {
		return c, nil, err
	}
	if secret := e.Password.Reveal(); secret != "" {
		// Also as it is sent (RFC 4616, RFC 4954): servers repeat what they refuse.
		c.secrets = append(c.secrets, secret, base64.StdEncoding.EncodeToString([]byte(secret)),
			base64.StdEncoding.EncodeToString([]byte("\x00"+e.Username+"\x00"+secret)))
	}
	return c, m, nil
}

func (e *email) send(ctx context.Context, m *message) error {
	msg, err := e.compose(m, time.Now())
	if err != nil {
		return &refusal{fmt.Errorf("write mail: %w", err)}
	}
	return e.carry(ctx, msg)
}

// carry hands one mail to the server.
func (e *email) carry(ctx context.Context, msg *mail.Msg) error {
	until, bounded := ctx.Deadline()
	if !bounded {
		until = time.Now().Add(emailTimeout)
	}
	dial := func(dialling context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		raw, err := d.DialContext(dialling, network, addr)
		if err != nil {
			return nil, err
		}
		// The library waits on the connection and not on the context, and leaves
		// it open when a greeting goes wrong.
		context.AfterFunc(ctx, func() { _ = raw.Close() })
		conn := net.Conn(&boundedConn{Conn: raw, until: until, left: maxDialogue})
		if e.Security != securityTLS {
			return conn, nil
		}
		secure := tls.Client(conn, e.tls.Clone())
		return secure, secure.HandshakeContext(dialling)
	}
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel() // closes the connection
	client, err := e.client(dial, time.Until(until))
	if err != nil {
		return &refusal{fmt.Errorf("make mail client: %w", err)}
	}
	session, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return smtpError("connect", err)
	}
	err = client.SendWithSMTPClient(session, msg)
	if msg.IsDelivered() {
		// Accepted is accepted, however the session ends.
		_ = client.CloseWithSMTPClient(session)
		return nil
	}
	if err == nil {
		err = errors.New("not accepted")
	}
	return smtpError("send", err)
}

func (e *email) client(dial mail.DialContextFunc, timeout time.Duration) (*mail.Client, error) {
	options := []mail.Option{
		mail.WithPort(int(e.Port)), mail.WithHELO(e.HELO), mail.WithTimeout(max(timeout, time.Millisecond)), mail.WithDialContextFunc(dial), mail.WithTLSConfig(e.tls.Clone()),
	}
	if e.Security == securityStartTLS {
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	} else {
		options = append(options, mail.WithTLSPolicy(mail.NoTLS)) // there is none, or it is there from the start
	}
	if e.Username != "" {
		options = append(options, mail.WithOpportunisticSMTPAuth(mail.SMTPAuthSCRAMSHA256, mail.SMTPAuthPlain, mail.SMTPAuthLogin, mail.SMTPAuthCramMD5),
			mail.WithUsername(e.Username), mail.WithPassword(e.Password.Reveal()))
	}
	return mail.NewClient(e.Host, options...)
}

// compose writes the mail. All that is not ours to choose goes through line,
// which leaves no line end to begin another header field with.
func (e *email) compose(m *message, now time.Time) (*mail.Msg, error) {
	msg, domain, err := e.envelope(now)
	if err != nil {
		return nil, err
	}
	id := line(m.ID, 100, "none")
	msg.SetMessageIDWithValue(fmt.Sprintf("%s-%d.%s@%s", id, m.Revision, e.Name, domain))
	msg.Subject(fmt.Sprintf("[tapwatch] %s: %s", m.Standing(), m.headline()))
	// All messages about one alert are one thread (RFC 5322, section 3.6.4).
	msg.SetGenHeader("References", fmt.Sprintf("<%s.%s@%s>", id, e.Name, domain))
	msg.SetGenHeader("X-Tapwatch-Key", line(m.key(), 120, "none"))
	msg.SetGenHeader("X-Tapwatch-Severity", line(string(m.Severity), 20, "none"))
	msg.SetGenHeader("X-Tapwatch-Detector", line(m.Detector, 64, "none"))

	facts := m.facts()
	var plain strings.Builder
	fmt.Fprintf(&plain, "%s\n\n", m.headline())
	for _, f := range facts {
		fmt.Fprintf(&plain, "%s: %s\n", f.Name, f.Value)
	}
	if link := m.link(); link != "" {
		fmt.Fprintf(&plain, "\n%s\n", link)
	}
	var rich strings.Builder
	if err := e.page.Execute(&rich, struct {
		Title, Link string
		Facts       []fact
	}{m.headline(), m.link(), facts}); err != nil {
		return nil, err
	}
	msg.SetBodyString(mail.TypeTextPlain, plain.String())
	msg.AddAlternativeString(mail.TypeTextHTML, rich.String())
	return msg, nil
}

// envelope is a mail from whom and to whom, and the domain for its Message-ID.
func (e *email) envelope(now time.Time) (msg *mail.Msg, domain string, err error) {
	msg = mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := msg.From(e.From); err != nil {
		return nil, "", err
	}
	if err := msg.To(e.To...); err != nil {
		return nil, "", err
	}
	msg.SetDateWithValue(now)
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no vacation replies
	_, domain, _ = strings.Cut(e.From, "@")
	return msg, domain, nil
}

// mailPage shows the same as the plain text; html/template escapes.
const mailPage = `<!DOCTYPE html>
<html><body>
<h2>{{.Title}}</h2>
<table>{{range .Facts}}<tr><th align="left" valign="top">{{.Name}}</th><td>{{.Value}}</td></tr>
{{end}}</table>
{{with .Link}}<p><a href="{{.}}">Open in the console</a></p>{{end}}
</body></html>
`

// smtpError says what kind of failure err is (RFC 5321, section 4.2.1: replies
// that begin with 5 are final). Trouble before the mail itself, such as a login
// that is refused, is never final: it is not about this message.
func smtpError(doing string, err error) error {
	wrapped := fmt.Errorf("mail server: %s: %w", doing, err)
	var se *mail.SendError
	if errors.As(err, &se) && se.ErrorCode() >= 500 && se.ErrorCode() <= 599 {
		return &refusal{wrapped}
	}
	return wrapped
}

// maxDialogue bounds what a mail server may say in one session, in bytes.
const maxDialogue = 256 << 10

// boundedConn ends at a fixed time and after a number of bytes read, whatever
// its user asks for.
type boundedConn struct {
	net.Conn
	until time.Time
	left  int
}

// Read implements net.Conn.
func (c *boundedConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errors.New("the other side says too much")
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// SetDeadline implements net.Conn.
func (c *boundedConn) SetDeadline(t time.Time) error { return c.Conn.SetDeadline(c.earliest(t)) }

// SetReadDeadline implements net.Conn.
func (c *boundedConn) SetReadDeadline(t time.Time) error {
	return c.Conn.SetReadDeadline(c.earliest(t))
}

// SetWriteDeadline implements net.Conn.
func (c *boundedConn) SetWriteDeadline(t time.Time) error {
	return c.Conn.SetWriteDeadline(c.earliest(t))
}

func (c *boundedConn) earliest(t time.Time) time.Time {
	if t.IsZero() || t.After(c.until) {
		return c.until
	}
	return t
}

// hostname is the name of this machine, localhost if it has none to show.
func hostname() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	return name
}
