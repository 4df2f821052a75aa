package notify

import (
	"errors"
	"fmt"
	"net/mail"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/config"
	"github.com/tapwatch/tapwatch/proto/kit/kafka"
)

// Config is who is told about alerts, and how patiently. Sinks can be given by
// YAML only. Without a sink nothing is sent and nothing is read.
type Config struct {
	MinSeverity alert.Severity `conf:"min_severity" help:"alerts below are not sent: info, low, medium, high or critical; a sink may have its own"`
	ConsoleURL  string         `conf:"console_url" help:"how recipients reach the console, https://tapwatch.example; empty: no link in messages"`

	Interval        time.Duration `conf:"interval" help:"how often new alerts are looked for"`
	RetryMin        time.Duration `conf:"retry_min" help:"pause after the first failure of a message; doubled with each one more"`
	RetryMax        time.Duration `conf:"retry_max" help:"longest pause between two attempts at a message"`
	GiveUpAfter     time.Duration `conf:"give_up_after" help:"a message that could not be delivered for this long is given up; the time before a restart does not count"`
	GiveUpAttempts  int           `conf:"give_up_attempts" help:"but not before this many attempts"`
	RefusedAttempts int           `conf:"refused_attempts" help:"attempts at a message that the other side refuses for good (HTTP 4xx, SMTP 5xx), with longer pauses"`

	Webhooks []Webhook `conf:"webhooks" help:"HTTP servers that get a POST of JSON"`
	Email    []Email   `conf:"email" help:"mail servers and recipients"`
	Syslog   []Syslog  `conf:"syslog" help:"syslog servers (RFC 5424)"`
	Kafka    []Topic   `conf:"kafka" help:"topics of Kafka that get alerts as JSON"`
}

// Webhook is an HTTP server that gets alerts as JSON. Its address is checked
// when it is dialled, see Allow; redirects and proxies are not followed.
type Webhook struct {
	Name        string                   `conf:"name" help:"unique; deliveries are remembered under it"`
	URL         config.Secret            `conf:"url" help:"http or https; a secret, because many such addresses hold a token"`
	Secret      config.Secret            `conf:"secret" help:"signs the body: X-Tapwatch-Signature: sha256=HMAC-SHA256 in hex; empty: not signed"`
	Shape       string                   `conf:"shape" help:"of the body: tapwatch, slack, teams (adaptive card), mattermost, or template; empty: tapwatch"`
	Template    string                   `conf:"template" help:"text/template of the body, for shape template; {{json .Title}} writes a value as JSON"`
	ContentType string                   `conf:"content_type" help:"of what the template makes; empty: application/json, which is checked"`
	Headers     map[string]config.Secret `conf:"headers" help:"additional header fields, such as Authorization"`
	Allow       []netip.Prefix           `conf:"allow" help:"networks that may be dialled although they are loopback, private, link-local or otherwise not public"`
	TLS         kit.TLS                  `conf:"tls"`
	Timeout     time.Duration            `conf:"timeout" help:"for one attempt, from name to answer; 0: 10s"`
	MinSeverity alert.Severity           `conf:"min_severity" help:"empty: that of notify"`
	PerMinute   int                      `conf:"per_minute" help:"messages within any minute at most; 0: 60"`
}

// Email is a mail server and those who get a message for each alert, all of
// them or nobody: who must be told alone has an Email of their own. With Digest
// what matters less comes together, once an hour or a day.
type Email struct {
	Name        string         `conf:"name" help:"unique; deliveries are remembered under it"`
	Host        string         `conf:"host" help:"name or address of the mail server"`
	Port        uint16         `conf:"port" help:"0: 587 for starttls, 465 for tls, 25 for none"`
	Security    string         `conf:"security" help:"starttls (required, not tried), tls or none; empty: starttls"`
	TLS         kit.TLS        `conf:"tls"`
	Username    string         `conf:"username" help:"to log in as; empty: no login"`
	Password    config.Secret  `conf:"password"`
	From        string         `conf:"from" help:"address of the sender"`
	To          []string       `conf:"to" help:"addresses of the recipients"`
	Digest      string         `conf:"digest" help:"hourly or daily: what is not above digest_up_to comes in one mail; empty: every alert has its own"`
	DigestUpTo  alert.Severity `conf:"digest_up_to" help:"empty: low"`
	DigestHour  int            `conf:"digest_hour" help:"hour of the day at which a daily digest is made, 0 to 23"`
	TimeZone    string         `conf:"time_zone" help:"of digest_hour and of the times in digests, such as Europe/Vienna; empty: UTC"`
	HELO        string         `conf:"helo" help:"name this machine gives itself; empty: its host name"`
	Timeout     time.Duration  `conf:"timeout" help:"for one attempt, from name to answer; 0: 30s"`
	MinSeverity alert.Severity `conf:"min_severity" help:"empty: that of notify"`
	PerMinute   int            `conf:"per_minute" help:"messages within any minute at most; 0: 60"`
}

// Topic is a topic of Kafka. Its messages are those of a webhook, with the id of
// the alert as key, acknowledged by all replicas in sync.
type Topic struct {
	Name        string         `conf:"name" help:"unique; deliveries are remembered under it"`
	Kafka       kafka.Config   `conf:"kafka"`
	Topic       string         `conf:"topic" help:"must exist; compacted, it keeps the newest revision of each alert"`
	Timeout     time.Duration  `conf:"timeout" help:"for one attempt; 0: 20s"`
	MinSeverity alert.Severity `conf:"min_severity" help:"empty: that of notify"`
	PerMinute   int            `conf:"per_minute" help:"messages within any minute at most; 0: 600"`
}

// Syslog is a server of syslog messages (RFC 5424).
type Syslog struct {
	Name        string         `conf:"name" help:"unique; deliveries are remembered under it"`
	Network     string         `conf:"network" help:"udp (RFC 5426), tcp (RFC 6587, octet counting) or tls (RFC 5425); empty: tcp"`
	Addr        string         `conf:"addr" help:"host:port"`
	TLS         kit.TLS        `conf:"tls"`
	Format      string         `conf:"format" help:"text with structured data, cef (ArcSight) or ecs (JSON of the Elastic Common Schema), within RFC 5424; empty: text"`
	Facility    string         `conf:"facility" help:"kern, user, daemon, auth, authpriv, audit, alert, local0 to local7; empty: local0"`
	Hostname    string         `conf:"hostname" help:"name of this machine in the messages; empty: its host name"`
	SDID        string         `conf:"sd_id" help:"name of the structured data, name@enterprise number; empty: tapwatch@32473, the number for examples (RFC 5612)"`
	Timeout     time.Duration  `conf:"timeout" help:"for one attempt; 0: 10s"`
	MinSeverity alert.Severity `conf:"min_severity" help:"empty: that of notify"`
	PerMinute   int            `conf:"per_minute" help:"messages within any minute at most; 0: 60"`
}

// DefaultConfig has no sinks, sends what is low or above and is patient for a
// day.
func DefaultConfig() Config {
	return Config{
		MinSeverity:     alert.Low,
		Interval:        2 * time.Second,
		RetryMin:        5 * time.Second,
		RetryMax:        10 * time.Minute,
		GiveUpAfter:     24 * time.Hour,
		GiveUpAttempts:  5,
		RefusedAttempts: 5,
	}
}

const (
	defaultPerMinute = 60
	maxPerMinute     = 6000
	maxSinks         = 64
	webhookTimeout   = 10 * time.Second
	emailTimeout     = 30 * time.Second
	syslogTimeout    = 10 * time.Second
	kafkaTimeout     = 20 * time.Second
	kafkaPerMinute   = 600
	maxTimeout       = 5 * time.Minute
)

var nameForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$`)

// Check says what is wrong with cfg, without touching the network; it does read
// the files of TLS settings. No error shows a secret.
func (cfg Config) Check() error {
	_, err := cfg.sinks()
	return err
}

// checkPace looks at everything but the sinks.
func (cfg Config) checkPace() error {
	if cfg.MinSeverity.Rank() < 0 {
		return severityError("notify.min_severity", cfg.MinSeverity)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"interval", cfg.Interval}, {"retry_min", cfg.RetryMin}, {"retry_max", cfg.RetryMax}, {"give_up_after", cfg.GiveUpAfter}} {
		if d.value <= 0 {
			return fmt.Errorf("notify.%s: %v is not greater than zero", d.name, d.value)
		}
	}
	if cfg.RetryMax < cfg.RetryMin {
		return fmt.Errorf("notify.retry_max: %v is less than retry_min, %v", cfg.RetryMax, cfg.RetryMin)
	}
	if cfg.GiveUpAttempts < 1 || cfg.RefusedAttempts < 1 {
		return errors.New("notify.give_up_attempts, notify.refused_attempts: less than 1")
	}
	if cfg.ConsoleURL != "" {
		u, err := url.Parse(cfg.ConsoleURL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return kit.Hint(errors.New("notify.console_url: not an address of a console"), "write it as https://tapwatch.example, with a path if there is one")
		}
	}
	if n := len(cfg.Webhooks) + len(cfg.Email) + len(cfg.Syslog) + len(cfg.Kafka); n > maxSinks {
		return fmt.Errorf("notify: %d sinks are more than %d", n, maxSinks)
	}
	return nil
}

// common is what every kind of sink has, its defaults filled in.
type common struct {
	name      string
	kind      string
	min       alert.Severity
	perMinute int
	timeout   time.Duration
	above     int      // rank below which a digest tells; 0: there is none
	secrets   []string // what must not be in a log or an error
}

func (cfg Config) common(at, kind, name string, min alert.Severity, perMinute int, timeout, standard time.Duration) (common, error) {
	c := common{name: name, kind: kind, min: min, perMinute: perMinute, timeout: timeout}
	if !nameForm.MatchString(name) {
		return c, kit.Hint(fmt.Errorf("%s.name: %q is not a name", at, name), "up to 64 letters, digits, dots, dashes and underscores")
	}
	if c.min == "" {
		c.min = cfg.MinSeverity
	}
	if c.min.Rank() < 0 {
		return c, severityError(at+".min_severity", c.min)
	}
	if c.perMinute == 0 {
		c.perMinute = defaultPerMinute
	}
	if c.perMinute < 1 || c.perMinute > maxPerMinute {
		return c, fmt.Errorf("%s.per_minute: %d is not between 1 and %d", at, perMinute, maxPerMinute)
	}
	if c.timeout == 0 {
		c.timeout = standard
	}
	if c.timeout < 0 || c.timeout > maxTimeout {
		return c, fmt.Errorf("%s.timeout: %v is not between 0 and %v", at, timeout, maxTimeout)
	}
	return c, nil
}

func severityError(key string, s alert.Severity) error {
	return kit.Hint(fmt.Errorf("%s: %q is not a severity", key, string(s)), "one of info, low, medium, high, critical")
}

// checkHeaders allows only fields that cannot change how the request is framed
// or where it goes.
func checkHeaders(at string, headers map[string]config.Secret) error {
	for name, value := range headers {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("%s.headers: %q is not the name of a header field", at, name)
		}
		if !httpguts.ValidHeaderFieldValue(value.Reveal()) {
			return fmt.Errorf("%s.headers.%s: holds characters that a header field must not have", at, name)
		}
		switch strings.ToLower(name) {
		case "host", "content-length", "content-type", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect", "idempotency-key", "x-tapwatch-signature", "x-tapwatch-signed":
			return fmt.Errorf("%s.headers.%s: is set by tapwatch itself", at, name)
		}
	}
	return nil
}

// checkAddress says whether text is one mail address, without a name.
func checkAddress(key, text string) error {
	a, err := mail.ParseAddress(text)
	if err != nil || a.Address != text {
		return kit.Hint(fmt.Errorf("%s: %q is not a mail address", key, text), "write it as soc@example.org")
	}
	return nil
}
