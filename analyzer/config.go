package analyzer

import (
	"errors"
	"fmt"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/console"
	"github.com/tapwatch/tapwatch/analyzer/detect/catalogue"
	"github.com/tapwatch/tapwatch/analyzer/incident"
	"github.com/tapwatch/tapwatch/analyzer/notify"
	"github.com/tapwatch/tapwatch/analyzer/report"
	"github.com/tapwatch/tapwatch/analyzer/respond"
	"github.com/tapwatch/tapwatch/analyzer/schedule"
	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

// Config is the configuration of an analyzer.
type Config struct {
	ClickHouse clickhouse.Config   `conf:"clickhouse"`
	Detect     catalogue.Config    `conf:"detect"`
	Rules      Rules               `conf:"rules"`
	Cases      incident.CaseConfig `conf:"cases"`
	Schedule   schedule.Config     `conf:"schedule"`
	Notify     notify.Config       `conf:"notify"`
	Report     report.Config       `conf:"report"`
	Respond    respond.Config      `conf:"respond"`
	Console    console.Config      `conf:"console"`
	Ops        ops.Config          `conf:"ops"`
}

// DefaultConfig analyses the ClickHouse of this machine.
func DefaultConfig() Config {
	return Config{
		ClickHouse: clickhouse.Config{Addr: []string{"127.0.0.1:9000"}},
		Detect:     catalogue.DefaultConfig(),
		Cases:      incident.DefaultCaseConfig(),
		Schedule:   schedule.DefaultConfig(),
		Notify:     notify.DefaultConfig(),
		Report:     report.DefaultConfig(),
		Respond:    respond.DefaultConfig(),
		Console:    console.DefaultConfig(),
		Ops:        ops.Config{Listen: "127.0.0.1:9613"},
	}
}

// Check says what is wrong with cfg without opening anything.
func (cfg Config) Check() error {
	if err := cfg.ClickHouse.Validate(); err != nil {
		return err
	}
	if err := cfg.Detect.Check(); err != nil {
		return err
	}
	if err := cfg.Cases.Check(); err != nil {
		return fmt.Errorf("cases.%w", err)
	}
	if err := cfg.Notify.Check(); err != nil {
		return err
	}
	if err := cfg.Report.Check(); err != nil {
		return err
	}
	if err := cfg.Respond.Check(); err != nil {
		return err
	}
	if err := cfg.Console.Validate(); err != nil {
		return err
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"interval", cfg.Schedule.Interval}, {"silent", cfg.Schedule.Silent}, {"visible", cfg.Schedule.Visible}} {
		if d.value <= 0 {
			return fmt.Errorf("schedule.%s: %v is not greater than zero", d.name, d.value)
		}
	}
	if cfg.Schedule.Provisional < 0 {
		return errors.New("schedule.provisional: less than zero; 0 means never")
	}
	return nil
}
