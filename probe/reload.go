package probe

import (
	"context"
	"log/slog"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/config"
)

// reload takes configurations until ctx ends.
func (in *input) reload(ctx context.Context, cfg Config, reloads <-chan Config, set *settings, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case next := <-reloads:
			cfg = in.change(cfg, next, set, log)
		}
	}
}

// change brings into effect what it can of next, says what it did, and returns
// the configuration in effect. Workers take the new settings within about a
// second, between two packets; only the filter of rings changes here.
func (in *input) change(cfg, next Config, set *settings, log *slog.Logger) Config {
	// The lists are read again also when their names are the same.
	if err := next.read(); err != nil {
		log.Error("the new services or patterns cannot be read; going on as before", "err", err)
		return cfg
	}
	cfg.services = next.services
	set.set(cfg.limits())
	changes, err := config.Changes(cfg, next)
	if err != nil {
		log.Error("the new configuration cannot be compared with the old one; going on as before", "err", err)
		return cfg
	}
	if len(changes) == 0 {
		log.Info("the configuration was read again and has not changed")
		return cfg
	}
	takes, done := reloadable(), cfg
	var filter error // of a filter that the rings refuse
	if c := next.Capture; len(in.rings) > 0 && (c.Filter != cfg.Capture.Filter || c.Snaplen != cfg.Capture.Snaplen) {
		filter = capture.SetFilter(in.rings, c.Filter, c.Snaplen)
	}
	for _, c := range changes {
		args := []any{"key", c.Key, "was", c.Old, "is", c.New}
		ofFilter := c.Key == "capture.filter" || c.Key == "capture.snaplen"
		switch take := takes[c.Key]; {
		case take == nil:
			log.Warn("a changed setting waits for a restart", args...)
		case ofFilter && filter != nil:
			log.Error("the new filter is refused; the old one stays", append(args, "err", filter, "hint", kit.HintOf(filter))...)
		case ofFilter && len(in.rings) == 0:
			log.Warn("the file being read goes on with the filter it was begun with", args...)
			take(&done, next)
		default:
			log.Info("a setting has changed", args...)
			take(&done, next)
		}
	}
	set.set(done.limits())
	return done
}

// reloadable is what a running probe can take from another configuration, by
// key.
func reloadable() map[string]func(cfg *Config, next Config) {
	return map[string]func(*Config, Config){
		"capture.filter":           func(cfg *Config, next Config) { cfg.Capture.Filter = next.Capture.Filter },
		"capture.snaplen":          func(cfg *Config, next Config) { cfg.Capture.Snaplen = next.Capture.Snaplen },
		"capture.sample_flows":     func(cfg *Config, next Config) { cfg.Capture.SampleFlows = next.Capture.SampleFlows },
		"capture.sample_packets":   func(cfg *Config, next Config) { cfg.Capture.SamplePackets = next.Capture.SamplePackets },
		"meter.active_timeout":     func(cfg *Config, next Config) { cfg.Meter.ActiveTimeout = next.Meter.ActiveTimeout },
		"meter.idle_timeout":       func(cfg *Config, next Config) { cfg.Meter.IdleTimeout = next.Meter.IdleTimeout },
		"meter.unanswered_timeout": func(cfg *Config, next Config) { cfg.Meter.UnansweredTimeout = next.Meter.UnansweredTimeout },
		"meter.max_flows":          func(cfg *Config, next Config) { cfg.Meter.MaxFlows = next.Meter.MaxFlows },
		"services":                 func(cfg *Config, next Config) { cfg.Services = next.Services },
		"meter.max_bytes":          func(cfg *Config, next Config) { cfg.Meter.MaxBytes = next.Meter.MaxBytes },
	}
}
