package keep

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

// Trailers of an answer with packets: without them it is not complete.
const (
	trailerPackets   = "Tapwatch-Packets"   // number in the file
	trailerTruncated = "Tapwatch-Truncated" // true: a limit was reached, there are more
	trailerDamaged   = "Tapwatch-Damaged"   // blocks that could not be read
)

// Server gives the packets of a Ring to those who have a token:
//
//	GET /packets?start=&end=&src=&dst=&sport=&dport=&proto=&host=&community_id=&filter=&format=
//	GET /stats
//	Authorization: Bearer TOKEN
//
// Errors are one line of text: 400 a bad query, 401 no token, 403 a token without the
// right, 404 no packet matches, 429 too many fetches at once, 503 the audit file
// cannot be written.
type Server struct {
	cfg      APIConfig
	ring     *Ring
	log      *slog.Logger
	tokens   tokens
	audit    audit
	tls      *tls.Config // nil: plain, on loopback
	slots    chan struct{}
	listener net.Listener

	requests *prometheus.CounterVec
	packets  prometheus.Counter
	bytes    prometheus.Counter
}

// NewServer prepares the server of r: reads tokens and certificate, and opens
// nothing. reg gets the metrics; nil: none.
func NewServer(r *Ring, log *slog.Logger, reg prometheus.Registerer) (*Server, error) {
	cfg := r.cfg.API
	s := &Server{cfg: cfg, ring: r, log: log, tokens: tokens{path: cfg.Tokens},
		audit: audit{path: cfg.Audit, log: log, now: time.Now}, slots: make(chan struct{}, cfg.MaxFetches),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tapwatch_probe_keep_requests_total",
			Help: "Requests for kept packets, by HTTP status."}, []string{"status"}),
		packets: prometheus.NewCounter(prometheus.CounterOpts{Name: "tapwatch_probe_keep_fetched_packets_total", Help: "Packets given out."}),
		bytes:   prometheus.NewCounter(prometheus.CounterOpts{Name: "tapwatch_probe_keep_fetched_bytes_total", Help: "Octets of files given out."}),
	}
	if s.audit.path == "" {
		s.audit.path = filepath.Join(r.cfg.Dir, "audit.jsonl")
	}
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("serve packets: %w", err)
	}
	if _, err := s.tokens.current(); err != nil {
		return nil, fmt.Errorf("serve packets: %w", err)
	}
	if cfg.Cert != "" {
		files := &tlsFiles{cert: cfg.Cert, key: cfg.Key, ca: cfg.ClientCA, log: log}
		var err error
		if s.tls, err = files.server(); err != nil {
			return nil, fmt.Errorf("serve packets: %w", err)
		}
	}
	if reg != nil {
		for _, c := range [...]prometheus.Collector{s.requests, s.packets, s.bytes} {
			if err := reg.Register(c); err != nil {
				return nil, fmt.Errorf("serve packets: %w", err)
			}
		}
	}
	return s, nil
}

// Listen opens the port, for those who want to know about a port in use before they
// start to work. Serve calls it otherwise.
func (s *Server) Listen() error {
	if s.listener != nil {
		return nil
	}
	l, err := ops.Listen(s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("serve packets: %w", err)
	}
	if s.tls != nil {
		l = tls.NewListener(l, s.tls)
	}
	s.listener = l
	return nil
}

// Serve answers until ctx ends; then fetches that are under way are broken off.
func (s *Server) Serve(ctx context.Context) error {
	if err := s.Listen(); err != nil {
		return err
	}
	err := ops.Serve(ctx, s.listener, &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		IdleTimeout: 60 * time.Second, MaxHeaderBytes: 16 << 10, BaseContext: func(net.Listener) context.Context { return ctx }})
	if err != nil {
		return fmt.Errorf("serve packets: %w", err)
	}
	return nil
}

// Handler is the server without its port.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/packets", s.request(RightPackets, s.givePackets))
	mux.HandleFunc("/stats", s.request(RightStats, s.giveStats))
	mux.HandleFunc("/", s.request("", nil))
	return mux
}

// refusal is an answer other than 200.
type refusal struct {
	status int
	err    error
}

func refuse(status int, err error) *refusal { return &refusal{status, err} }

// request wraps what a right lets somebody do into authorisation and audit. give
// returns a refusal when nothing was sent yet; otherwise the line says all.
func (s *Server) request(right string, give func(http.ResponseWriter, *http.Request, Token, *AuditLine) *refusal) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		line := AuditLine{ID: newID(), Event: "refused", Remote: req.RemoteAddr, Request: req.Method + " " + req.URL.RequestURI()}
		if req.TLS != nil && len(req.TLS.PeerCertificates) > 0 {
			line.Certificate = req.TLS.PeerCertificates[0].Subject.String()
		}
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		who, no := s.authorise(req, right)
		line.Name, line.Within = who.Name, who.Within
		if no == nil && give == nil {
			no = refuse(http.StatusNotFound, errors.New("there are /packets and /stats"))
		}
		if no == nil && req.Method != http.MethodGet {
			h.Set("Allow", http.MethodGet)
			no = refuse(http.StatusMethodNotAllowed, errors.New("only GET is possible"))
		}
		line.Status = http.StatusOK
		if no == nil {
			no = give(w, req, who, &line)
		}
		if no != nil {
			line.Status, line.Error = no.status, no.err.Error()
		}
		s.requests.WithLabelValues(strconv.Itoa(line.Status)).Inc()
		if err := s.audit.write(line); err != nil {
			s.log.Error("packets: a request is not in the audit file", "error", err, "id", line.ID)
		}
		if no != nil {
			deny(w, no)
		} else if line.Error != "" {
			panic(http.ErrAbortHandler) // the client must see that the file is not whole
		}
	}
}

func deny(w http.ResponseWriter, no *refusal) {
	text := strings.Join(strings.Fields(no.err.Error()), " ")
	if hint := kit.HintOf(no.err); hint != "" {
		text += " (" + hint + ")"
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	switch no.status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="tapwatch packets"`)
	case http.StatusTooManyRequests:
		h.Set("Retry-After", "5")
	}
	w.WriteHeader(no.status)
	_, _ = io.WriteString(w, text+"\n") // the client went away; there is nobody left to tell
}

func newID() string {
	var b [8]byte
	rand.Read(b[:]) // never fails since Go 1.24
	return hex.EncodeToString(b[:])
}

// authorise finds out who asks, and whether that right is theirs. An empty right is
// everybody's who has a token.
func (s *Server) authorise(req *http.Request, right string) (Token, *refusal) {
	list, err := s.tokens.current()
	if err != nil {
		s.log.Error("packets: nobody is let in", "error", err)
		return Token{}, refuse(http.StatusServiceUnavailable, errors.New("the tokens cannot be read"))
	}
	scheme, token, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	if token == "" || !strings.EqualFold(scheme, "Bearer") {
		return Token{}, refuse(http.StatusUnauthorized, errors.New("a token is needed: Authorization: Bearer TOKEN"))
	}
	who, ok := find(list, strings.TrimSpace(token))
	if !ok {
		return Token{}, refuse(http.StatusUnauthorized, errors.New("the token is not known"))
	}
	if !who.Until.IsZero() && !s.audit.now().Before(who.Until) {
		return who, refuse(http.StatusUnauthorized, fmt.Errorf("the token was valid until %s", who.Until.UTC().Format(time.RFC3339)))
	}
	if right != "" && !slices.Contains(who.Rights, right) {
		return who, refuse(http.StatusForbidden, fmt.Errorf("the token does not have the right %q", right))
	}
	return who, nil
}

func (s *Server) givePackets(w http.ResponseWriter, req *http.Request, who Token, line *AuditLine) *refusal {
	q, err := parseRequest(req)
	if err != nil {
		return refuse(http.StatusBadRequest, err)
	}
	q.Within = who.Within
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return refuse(http.StatusTooManyRequests, fmt.Errorf("%d fetches are under way, more are not possible", s.cfg.MaxFetches))
	}
	begin := *line
	begin.Event = "begin"
	if err := s.audit.write(begin); err != nil {
		s.log.Error("packets: nothing is given without a line in the audit file", "error", err)
		return refuse(http.StatusServiceUnavailable, errors.New("the audit file cannot be written"))
	}
	line.Event = "end"
	ctx, cancel := context.WithTimeout(req.Context(), s.cfg.Timeout)
	defer cancel()
	out := &answer{w: w, control: http.NewResponseController(w)}
	res, err := s.ring.Find(ctx, q, out, Limits{Bytes: uint64(s.cfg.MaxBytes)})
	line.Packets, line.Bytes, line.Truncated = res.Packets, out.n, res.Truncated
	s.bytes.Add(float64(out.n))
	if err != nil {
		if out.n == 0 {
			line.Packets = 0
			return refuse(statusOf(err), err)
		}
		line.Error = err.Error()
		return nil
	}
	s.packets.Add(float64(res.Packets))
	h := w.Header()
	h.Set(trailerPackets, strconv.FormatUint(res.Packets, 10))
	h.Set(trailerTruncated, strconv.FormatBool(res.Truncated))
	h.Set(trailerDamaged, strconv.Itoa(res.Damaged))
	return nil
}

func parseRequest(req *http.Request) (Query, error) {
	v, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		return Query{}, queryError("%v", err)
	}
	return ParseQuery(v)
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, ErrQuery), errors.Is(err, ErrLinkTypes):
		return http.StatusBadRequest
	case errors.Is(err, capture.ErrNoLibpcap):
		return http.StatusNotImplemented
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

func (s *Server) giveStats(w http.ResponseWriter, _ *http.Request, _ Token, line *AuditLine) *refusal {
	line.Event = "end"
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(s.ring.Stats()); err != nil {
		line.Error = err.Error()
	}
	return nil
}

// stall is how long a client may take no octet.
const stall = 30 * time.Second

// answer is the body of a 200: its head goes out with the first octets.
type answer struct {
	w       http.ResponseWriter
	control *http.ResponseController
	n       uint64
}

func (a *answer) Write(b []byte) (int, error) {
	if a.n == 0 && len(b) > 0 {
		h, kind, name := a.w.Header(), "application/vnd.tcpdump.pcap", "packets.pcap"
		if len(b) >= 4 && string(b[:4]) == "\x0a\x0d\x0d\x0a" {
			kind, name = "application/x-pcapng", "packets.pcapng"
		}
		h.Set("Content-Type", kind)
		h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
		h.Set("Trailer", trailerPackets+", "+trailerTruncated+", "+trailerDamaged)
	}
	_ = a.control.SetWriteDeadline(time.Now().Add(stall)) // not all writers have one
	n, err := a.w.Write(b)
	a.n += uint64(n)
	return n, err
}
