// Package ops is what an operator sees of a running service: its log, its metrics, and whether it is alive and ready.
//
// In come log records, metrics and the state of each component; out go lines on standard error and the HTTP answers
// /healthz, /readyz and /metrics. An Ops belongs to one service in one process; nothing is global, so several services
// can run side by side. All methods are safe for concurrent use.
package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/tapwatch/tapwatch/proto/kit"
)

// Config is how a service shows itself. The zero value logs text from level info on, and opens no port.
type Config struct {
	Listen    string `conf:"listen" help:"host:port of /metrics, /healthz and /readyz; empty: off"`
	LogLevel  string `conf:"log_level" help:"debug, info, warn or error"`
	LogFormat string `conf:"log_format" help:"text or json"`
}

// Ops is the log, the metrics and the health of one service.
type Ops struct {
	// Log writes to standard error, one line per record, with everything that could steer a terminal escaped.
	Log *slog.Logger
	// Registry holds the service's metrics; those of the Go runtime, the process and the build are there already.
	Registry *prometheus.Registry
	// Mux answers on Config.Listen. A service may add its own paths before Serve.
	Mux *http.ServeMux

	listen string
	gauge  *prometheus.GaugeVec
	whole  *Ops   // of which this is a part, nil none
	part   string // its name

	mu         sync.Mutex
	components map[string]string // component -> reason, "" when ready
	listener   net.Listener
}

// New prepares the Ops of the service called name ("probe"). It opens nothing. An error is a wrong Config.
func New(name string, cfg Config) (*Ops, error) {
	logger, err := NewLogger(os.Stderr, cfg.LogLevel, cfg.LogFormat)
	if err != nil {
		return nil, err
	}
	if cfg.Listen != "" {
		if _, _, err := net.SplitHostPort(cfg.Listen); err != nil {
			return nil, kit.Hint(fmt.Errorf("listen address %q: %w", cfg.Listen, err), "write host:port, such as 127.0.0.1:9100")
		}
	}
	o := &Ops{
		Log:      logger.With("service", name),
		Registry: prometheus.NewRegistry(),
		Mux:      http.NewServeMux(),
		listen:   cfg.Listen,
		gauge: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tapwatch_" + name + "_ops_component_ready",
			Help: "1 when the component is ready, 0 when not; /readyz has the reason.",
		}, []string{"component"}),
		components: map[string]string{},
	}
	o.Registry.MustRegister(o.gauge, collectors.NewGoCollector(), collectors.NewBuildInfoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	o.Mux.Handle("GET /metrics", promhttp.HandlerFor(o.Registry, promhttp.HandlerOpts{
		Registry: o.Registry, MaxRequestsInFlight: 4, Timeout: 10 * time.Second,
	}))
	o.Mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"alive": true, "service": name})
	})
	o.Mux.HandleFunc("GET /readyz", o.readyz)
	return o, nil
}

// Ready says that a component ("kafka") can do its work (err is nil) or why it cannot. A service is ready when at least
// one component has been named and none has a reason. The change is logged, the repetition is not.
func (o *Ops) Ready(component string, err error) {
	if o.whole != nil {
		o.whole.Ready(component+", "+o.part, err)
		return
	}
	reason := ""
	if err != nil {
		reason = err.Error()
		if hint := kit.HintOf(err); hint != "" {
			reason += " (" + hint + ")"
		}
	}
	o.mu.Lock()
	before, known := o.components[component]
	o.components[component] = reason
	o.mu.Unlock()
	if reason == "" {
		o.gauge.WithLabelValues(component).Set(1)
		if !known || before != "" {
			o.Log.Info("ready", "component", component)
		}
		return
	}
	o.gauge.WithLabelValues(component).Set(0)
	switch {
	case !known: // a start, not a failure
		o.Log.Info("not ready yet", "component", component, "reason", reason)
	case before != reason:
		o.Log.Warn("not ready", "component", component, "reason", reason)
	}
}

// Status returns whether the service is ready, and for each component "ok" or the reason why it is not. The map is a
// copy.
func (o *Ops) Status() (ready bool, components map[string]string) {
	o.mu.Lock()
	components = maps.Clone(o.components)
	o.mu.Unlock()
	if len(components) == 0 {
		return false, map[string]string{"service": "starting"}
	}
	ready = true
	for c, reason := range components {
		if reason == "" {
			components[c] = "ok"
		} else {
			ready = false
		}
	}
	return ready, components
}

func (o *Ops) readyz(w http.ResponseWriter, _ *http.Request) {
	ready, components := o.Status()
	code := http.StatusOK
	if !ready {
		code = http.StatusServiceUnavailable
	}
	answer(w, code, map[string]any{"ready": ready, "components": components})
}

// answer writes v as JSON.
func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the client went away; there is nobody left to tell
}

// Listen opens the port of Config.Listen, for those who want to know about a port in use before they start to work.
// Serve calls it where the caller has not. It does nothing when Listen is off or has been called.
func (o *Ops) Listen() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.listen == "" || o.listener != nil {
		return nil
	}
	l, err := Listen(o.listen)
	if err != nil {
		return err
	}
	o.listener = l
	return nil
}

// Addr is the host:port that is listened on, with the real port where the Config said 0; "" before Listen or when off.
func (o *Ops) Addr() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.listener == nil {
		return ""
	}
	return o.listener.Addr().String()
}

// Serve answers until ctx ends, then lets running answers finish for up to 3 s, closes the port and returns nil. With
// Listen off it just waits for ctx. Call it once.
func (o *Ops) Serve(ctx context.Context) error {
	if err := o.Listen(); err != nil {
		return err
	}
	if o.Addr() == "" {
		<-ctx.Done()
		return nil
	}
	return Serve(ctx, o.listener, &http.Server{
		Handler:           o.Mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
	})
}
