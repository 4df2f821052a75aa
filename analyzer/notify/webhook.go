package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/config"
)

// webhook posts messages to one address.
type webhook struct {
	url     config.Secret
	secret  config.Secret
	headers map[string]config.Secret
	write   writer
	kind    string // media type of what write makes
	client  *http.Client
	dialer  *net.Dialer
}

const (
	// maxAnswer bounds what is read of an answer's head, and of its body.
	maxAnswer = 64 << 10
	// maxRetryAfter bounds how long the other side can put us off.
	maxRetryAfter = time.Hour
)

func (cfg Config) webhook(at string, w Webhook) (common, *webhook, error) {
	c, err := cfg.common(at, "webhook", w.Name, w.MinSeverity, w.PerMinute, w.Timeout, webhookTimeout)
	if err != nil {
		return c, nil, err
	}
	// The error of url.Parse would show the address.
	u, err := url.Parse(w.URL.Reveal())
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "" {
		return c, nil, kit.Hint(fmt.Errorf("%s.url: not an http or https address", at), "write it as https://host/path, or as file:/path or env:NAME that holds it")
	}
	if err := checkHeaders(at, w.Headers); err != nil {
		return c, nil, err
	}
	c.secrets = append(c.secrets, w.URL.Reveal(), w.Secret.Reveal())
	if u.User != nil {
		password, _ := u.User.Password()
		c.secrets = append(c.secrets, u.User.String(), password)
	}
	if len(u.Path) > 1 {
		c.secrets = append(c.secrets, u.RequestURI(), u.Path)
	}
	for _, v := range w.Headers {
		c.secrets = append(c.secrets, v.Reveal())
	}
	write, kind, err := shapeOf(at, w)
	if err != nil {
		return c, nil, err
	}
	h := &webhook{url: w.URL, secret: w.Secret, headers: w.Headers, write: write, kind: kind}
	if h.client, h.dialer, err = client(w.Allow, w.TLS); err != nil {
		return c, nil, fmt.Errorf("%s: %w", at, err)
	}
	return c, h, nil
}

// Client returns an HTTP client that dials public addresses and those in allow
// only, checked when they are dialled, and follows neither redirects nor proxies.
func Client(allow []netip.Prefix, t kit.TLS) (*http.Client, error) {
	c, _, err := client(allow, t)
	return c, err
}

func client(allow []netip.Prefix, t kit.TLS) (*http.Client, *net.Dialer, error) {
	tlsConfig, err := t.Config()
	if err != nil {
		return nil, nil, err
	}
	dialer := &net.Dialer{Control: newGuard(allow).control}
	return &http.Client{
		// A redirect leads where nobody has looked at; it is an answer like any other.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: nil, // a proxy would dial for us, unchecked
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				return dialer.DialContext(ctx, network, addr)
			},
			TLSClientConfig:        tlsConfig,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxAnswer,
			// A connection that is used again would make net/http repeat requests on
			// its own, and keep an address beyond its check.
			DisableKeepAlives: true,
		},
	}, dialer, nil
}

func (h *webhook) send(ctx context.Context, m *message) error {
	body, err := h.write(m)
	if err != nil {
		return &refusal{fmt.Errorf("write body: %w", err)}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url.Reveal(), bytes.NewReader(body))
	if err != nil {
		return &refusal{errors.New("make request: address cannot be used")}
	}
	for name, value := range h.headers {
		req.Header.Set(name, value.Reveal())
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "tapwatch")
	}
	req.Header.Set("Content-Type", h.kind)
	req.Header.Set("Idempotency-Key", m.key())
	if h.secret != "" {
		Sign(req.Header, h.secret.Reveal(), body, time.Now())
	}
	resp, err := h.client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) { // it shows the address
			err = ue.Err
		}
		return fmt.Errorf("post: %w", err)
	}
	defer resp.Body.Close()
	// What the other side has to say is of no use, and may be anything; it is read
	// so that it can finish, not longer than the attempt lasts.
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
	return answered(resp.StatusCode, resp.Header.Get("Retry-After"), time.Now())
}

// Sign sets X-Tapwatch-Signature, which is the same each time a body is sent, and
// X-Tapwatch-Signed, which says when it was sent: with it a receiver can refuse
// what somebody has recorded and sends again later.
func Sign(h http.Header, secret string, body []byte, now time.Time) {
	sum := func(before string) string {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(before))
		mac.Write(body)
		return hex.EncodeToString(mac.Sum(nil))
	}
	h.Set("X-Tapwatch-Signature", "sha256="+sum(""))
	at := strconv.FormatInt(now.Unix(), 10)
	h.Set("X-Tapwatch-Signed", "t="+at+",sha256="+sum(at+"."))
}

// answered is what a status says about the message (RFC 9110, section 15).
func answered(status int, retryAfter string, now time.Time) error {
	err := fmt.Errorf("post: answered with status %d", status)
	switch {
	case status >= 200 && status <= 299:
		return nil
	case status >= 300 && status <= 399:
		return kit.Hint(&refusal{fmt.Errorf("post: answered with status %d: redirects are not followed", status)}, "give the address it leads to")
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status < 400, status >= 500:
		if after := parseRetryAfter(retryAfter, now); after > 0 {
			return &postponed{err, after}
		}
		return err
	}
	return &refusal{err}
}

// parseRetryAfter reads the header field Retry-After (RFC 9110, section 10.2.3),
// seconds or a date: how long to wait, from 0 (not said, not readable or over)
// to maxRetryAfter.
func parseRetryAfter(text string, now time.Time) time.Duration {
	text = strings.TrimSpace(text)
	if seconds, err := strconv.ParseUint(text, 10, 64); err == nil {
		if seconds > uint64(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	} else if errors.Is(err, strconv.ErrRange) {
		return maxRetryAfter
	}
	date, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), maxRetryAfter)
}
