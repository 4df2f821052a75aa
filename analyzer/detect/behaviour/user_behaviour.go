package behaviour

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/baseline"
	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/proto/kit"
)

var (
	//go:embed user_sightings.sql
	userSightingsSQL string
	//go:embed user_features.sql
	userFeaturesSQL string
	//go:embed user_behaviour.sql
	userBehaviourSQL string
	//go:embed user_behaviour_windows.sql
	userBehaviourWindowsSQL string
	//go:embed user_flows.sql
	userFlowsSQL string
)

// withUsers puts what is known of users into a statement.
func withUsers(sql string) string {
	return strings.NewReplacer("/*sightings*/", detect.Compose(userSightingsSQL), "/*features*/", detect.Compose(userFeaturesSQL)).Replace(detect.Compose(sql))
}

// userFeatures are the numbers about a user-hour, in the order of
// user_features.sql.
func userFeatures() []feature {
	return []feature{
		{"sent_bytes", "sent", true}, {"flows_begun", "began connections", false},
		{"peers_called", "called peers", false}, {"failed", "failed to connect", false},
	}
}

// UserBehaviourConfig are the thresholds of user_behaviour.
type UserBehaviourConfig struct {
	MinZ         float64   `conf:"min_z" help:"robust standard deviations above the usual at this hour of the week, on log1p, of two features"`
	AloneZ       float64   `conf:"alone_z" help:"the same of one feature alone"`
	Record       float64   `conf:"record" help:"least factor to the second busiest day of the past"`
	HistoryDays  int       `conf:"history_days" help:"days of the past that make the baseline of traffic, and say how many machines are usual"`
	KnownDays    int       `conf:"known_days" help:"days of the past in which a machine or an hour of the week is known, at least history_days"`
	WarmUpDays   int       `conf:"warm_up_days" help:"days since the first sight for which a user is only learnt"`
	MinDays      int       `conf:"min_days" help:"days of history_days on which a user has to have been seen"`
	MaxMachines  int       `conf:"max_machines" help:"machines up to which one more is worth a word"`
	Several      int       `conf:"several" help:"new machines of a user in an hour from which on it is more than a new desk"`
	CommonUsers  int       `conf:"common_users" help:"other users from which on an address is anybody's"`
	MaxAddresses int       `conf:"max_addresses" help:"addresses a day above which an account is no person's"`
	SlackHours   int       `conf:"slack_hours" help:"hours from one that is known up to which another is not new"`
	HoldHours    int       `conf:"hold_hours" help:"hours since the last sight for which an address stays the user's"`
	Together     float64   `conf:"together" help:"share of the users seen in the hour, and at least 5, from which on it is the network that has changed"`
	MinBytes     kit.Bytes `conf:"min_bytes" help:"octets sent in an hour from which on they count"`
	MinFlows     int       `conf:"min_flows" help:"connections begun in an hour from which on they count"`
	MinPeers     int       `conf:"min_peers" help:"distinct peers in an hour from which on they count"`
	MinFailed    int       `conf:"min_failed" help:"failed connections in an hour from which on they count"`
}

// minimum is the least amount of each feature, in their order.
func (c UserBehaviourConfig) minimum() string {
	return fmt.Sprintf("[%d,%d,%d,%d]", uint64(c.MinBytes), c.MinFlows, c.MinPeers, c.MinFailed)
}

// check says what is wrong with c.
func (c UserBehaviourConfig) check() error {
	if err := detect.CheckPositive(map[string]float64{"user_behaviour.min_z": c.MinZ, "user_behaviour.alone_z": c.AloneZ,
		"user_behaviour.record": c.Record, "user_behaviour.min_bytes": float64(c.MinBytes)}); err != nil {
		return err
	}
	if err := detect.CheckCounts(1, map[string]int{"user_behaviour.history_days": c.HistoryDays, "user_behaviour.warm_up_days": c.WarmUpDays,
		"user_behaviour.min_days": c.MinDays, "user_behaviour.max_machines": c.MaxMachines, "user_behaviour.common_users": c.CommonUsers,
		"user_behaviour.max_addresses": c.MaxAddresses, "user_behaviour.hold_hours": c.HoldHours, "user_behaviour.min_flows": c.MinFlows,
		"user_behaviour.min_peers": c.MinPeers, "user_behaviour.min_failed": c.MinFailed}); err != nil {
		return err
	}
	if err := detect.CheckCounts(0, map[string]int{"user_behaviour.slack_hours": c.SlackHours}); err != nil {
		return err
	}
	if err := detect.CheckCounts(2, map[string]int{"user_behaviour.several": c.Several}); err != nil {
		return err
	}
	if c.KnownDays < c.HistoryDays {
		return fmt.Errorf("user_behaviour.known_days: %d is less than history_days, %d", c.KnownDays, c.HistoryDays)
	}
	return detect.CheckShares(map[string]float64{"user_behaviour.together": c.Together})
}

// newUserBehaviour looks for hours in which a user is not themselves.
func newUserBehaviour(own detect.Own, c UserBehaviourConfig) detect.Detector {
	settings := own.Params().With("minimum", c.minimum(), "record", detect.Decimal(c.Record), "history_days", detect.Number(c.HistoryDays),
		"known_days", detect.Number(c.KnownDays), "warm_up_days", detect.Number(c.WarmUpDays), "hold_hours", detect.Number(c.HoldHours))
	d := detect.New(detect.Spec[userHour]{
		Info: detect.Info{
			Name: "user_behaviour", Version: 1, Title: "Unusual behaviour of a user", Techniques: []string{"T1078"},
			Length: time.Hour, Step: time.Hour, Gap: 24 * time.Hour, Rollups: []string{"hosts_1h"},
			Doc: `A user, as Kerberos, NTLM and RADIUS name them (users_seen), is not as usual in one of three ways. A machine: they are seen at one they never had, while they keep to few;
or at several at once. The hour: they are seen at an hour of the week, or on a day of the week, on which they never were. Traffic: what their machines send, begin,
call and fail to reach, taken together, is far above what this user does at this hour of the week, by the baseline of host_behaviour (log1p, median and MAD, two features at min_z or one at alone_z, record times
the second busiest day); it belongs to the user, whichever machine they are at, for hold_hours since they were last seen there. A new machine stays new, and an hour odd, for as long.
Low; medium where two of the three meet or at several new machines in an hour; high at twice as many, or at several where another of the three meets. The magnitude is the number of
oddities: new machines, the hour, features of traffic. One incident per user; what goes on within a day belongs to it.`,
			Controls: []string{
				"machine accounts, computers that log in for themselves (host/…), anonymous and guest",
				"accounts that are no person's: at more than max_addresses addresses on two days of the past or more",
				"new users: they are learnt for 14 days, and until they were seen on 8 days of 28",
				"another address of the same machine: assets_seen knows its card or its name, by DHCP, ARP, Kerberos, NetBIOS or mDNS; what an NTLM login says of itself is not believed",
				"users of many machines, until it is several at once and twice as many as on the second busiest day",
				"addresses that are anybody's: meeting rooms, terminal servers and jump hosts are no new machine, and what several users had within hold_hours counts for the traffic of none",
				"moves and nights of updates: what at least 5 users, and a tenth of those seen in the hour, begin at once",
				"overtime and shifts: two hours from one that is known, on any day on which the user has been at work, are not new",
				"small numbers, growth, jobs that move: as host_behaviour",
				"exempt addresses are left out",
			},
			Parameters: []detect.Parameter{
				{Name: "min_z", Value: detect.Decimal(c.MinZ), Doc: "robust z of two features, as of host_behaviour"},
				{Name: "alone_z", Value: detect.Decimal(c.AloneZ), Doc: "robust z of one feature, as of host_behaviour"},
				{Name: "record", Value: detect.Decimal(c.Record), Doc: "factor to the second busiest day of the past, of traffic, and of addresses where there are many"},
				{Name: "history_days", Value: fmt.Sprint(c.HistoryDays), Doc: "days of the past: four of each hour of the week"},
				{Name: "known_days", Value: fmt.Sprint(c.KnownDays), Doc: "days in which a machine or an hour is known: what is done once a quarter is seldom new"},
				{Name: "warm_up_days", Value: fmt.Sprint(c.WarmUpDays), Doc: "days a user is learnt: each hour of the week twice"},
				{Name: "min_days", Value: fmt.Sprint(c.MinDays), Doc: "days on which the user was seen: who comes twice a week has them in 28"},
				{Name: "max_machines", Value: fmt.Sprint(c.MaxMachines), Doc: "machines of the past: a desk and a laptop"},
				{Name: "several", Value: fmt.Sprint(c.Several), Doc: "new machines in an hour; lateral_movement has 3 new pairs"},
				{Name: "common_users", Value: fmt.Sprint(c.CommonUsers), Doc: "other users of an address in the past that make it anybody's"},
				{Name: "max_addresses", Value: fmt.Sprint(c.MaxAddresses), Doc: "addresses a day: desk, laptop and phone, by two protocols"},
				{Name: "slack_hours", Value: fmt.Sprint(c.SlackHours), Doc: "hours: daylight saving and overtime"},
				{Name: "hold_hours", Value: fmt.Sprint(c.HoldHours), Doc: "hours, as in the views users and user_at; a ticket of Kerberos lasts 10"},
				{Name: "together", Value: detect.Decimal(c.Together), Doc: "share of the users of the hour, and at least 5"},
				{Name: "min_bytes", Value: c.MinBytes.String(), Doc: "octets sent in the hour"},
				{Name: "min_flows", Value: fmt.Sprint(c.MinFlows), Doc: "connections begun"},
				{Name: "min_peers", Value: fmt.Sprint(c.MinPeers), Doc: "peers called"},
				{Name: "min_failed", Value: fmt.Sprint(c.MinFailed), Doc: "failed connections"},
			},
		},
		SQL: withUsers(userBehaviourSQL),
		Params: func(w detect.Window) detect.Params {
			return settings.Unix(w).With("min_z", detect.Decimal(c.MinZ), "alone_z", detect.Decimal(c.AloneZ), "min_days", detect.Number(c.MinDays),
				"max_machines", detect.Number(c.MaxMachines), "several", detect.Number(c.Several), "common_users", detect.Number(c.CommonUsers),
				"max_addresses", detect.Number(c.MaxAddresses), "slack_hours", detect.Number(c.SlackHours), "together", detect.Decimal(c.Together),
				"user", "", "site", "")
		},
		Judge: func(a *alert.Alert, r *userHour) detect.Verdict {
			if r.Learning {
				return detect.Learning
			}
			r.judge(a, c)
			return detect.Raise
		},
		Alone:      true,
		Find:       withUsers(userBehaviourWindowsSQL),
		FindParams: settings.With("known_s", detect.Number(86400*c.KnownDays), "hold_s", detect.Number(3600*c.HoldHours)),
	})
	return userSampled{d, d.(detect.Finder), c}
}

// userSampled adds sample flows to what is found of users. Few hours come so far.
type userSampled struct {
	detect.Detector
	detect.Finder
	c UserBehaviourConfig
}

// Windows returns nothing where no user is known.
func (s userSampled) Windows(ctx context.Context, db detect.DB, span detect.Window) ([]time.Time, error) {
	var known uint8
	hold := time.Duration(s.c.HoldHours) * time.Hour
	err := detect.Each(ctx, db, "SELECT count() > 0 FROM users_seen WHERE hour >= {from:DateTime('UTC')} AND hour < {to:DateTime('UTC')}",
		detect.Params{}.Span(detect.Window{Start: span.Start.Add(-hold), End: span.End}), func(rows driver.Rows) error { return rows.Scan(&known) })
	if err != nil {
		return nil, fmt.Errorf("find windows of user_behaviour: %w", err)
	}
	if known == 0 {
		return nil, nil
	}
	return s.Finder.Windows(ctx, db, span)
}

func (s userSampled) Detect(ctx context.Context, db detect.DB, w detect.Window) (detect.Result, error) {
	r, err := s.Detector.Detect(ctx, db, w)
	if err != nil {
		return r, err
	}
	for i := range r.Alerts {
		a := &r.Alerts[i]
		p := detect.Params{}.Unix(w).With("user", a.EvidenceParams["user"], "site", a.EvidenceParams["site"], "hosts", a.EvidenceParams["hosts"])
		if err := sampleFlows(ctx, db, userFlowsSQL, p, a); err != nil {
			return r, err
		}
	}
	return r, nil
}

// userHour is a row of the statement; the lists after Which are of the odd
// features, the oddest first.
type userHour struct {
	Site      string    `ch:"site"`
	User      string    `ch:"name"`
	Since     time.Time `ch:"known_since"`
	Days      uint64    `ch:"days"` // on which the user was seen, of history_days
	Learning  bool      `ch:"learning"`
	Hosts     []string  `ch:"hosts"` // addresses in the window
	New       uint64    `ch:"new_machines"`
	Found     []string  `ch:"found_text"` // their addresses, with what is known of them
	Usual     uint64    `ch:"usual_machines"`
	NewHour   bool      `ch:"new_hour"`
	Distance  uint64    `ch:"distance_hours"` // round the week to the nearest hour that is known
	PastHours uint64    `ch:"past_hours"`
	Level     string    `ch:"level"`
	Samples   uint64    `ch:"samples"`
	First     time.Time `ch:"first"`
	Last      time.Time `ch:"last"`
	Which     []uint32  `ch:"which"` // from 1
	Amounts   []uint64  `ch:"amounts"`
	Zs        []float64 `ch:"zs"`
	Medians   []float64 `ch:"medians"`
	MADs      []float64 `ch:"mads"`
	Ceilings  []uint64  `ch:"ceilings"`
	Z         float64   `ch:"z"`
	Machines  float64   `ch:"machines"`
	Hour      float64   `ch:"hour"`
	Traffic   float64   `ch:"traffic"`
}

// severity says how much it matters: each of the three is often a whim, two of
// them seldom are.
func (h userHour) severity(c UserBehaviourConfig) (alert.Severity, float64) {
	ways := 0
	for _, odd := range []bool{h.New > 0, h.NewHour, len(h.Which) > 0} {
		if odd {
			ways++
		}
	}
	switch several := uint64(c.Several); {
	case h.New >= 2*several, h.New >= several && ways >= 2:
		return alert.High, 0.8
	case h.New >= several, ways >= 2:
		return alert.Medium, 0.7
	}
	return alert.Low, 0.5
}

// judge scores an hour of a user.
func (h userHour) judge(a *alert.Alert, c UserBehaviourConfig) {
	list := userFeatures()
	a.Actor = h.User
	a.Entities = detect.Entities("user", h.User, "site", h.Site)
	a.EvidenceParams["user"], a.EvidenceParams["site"] = h.User, h.Site
	a.EvidenceParams["hosts"] = "['" + strings.Join(h.Hosts, "','") + "']"
	a.Start, a.End = h.First, h.Last
	a.SubScores = map[string]float64{"machines": h.Machines, "hour": h.Hour, "traffic": h.Traffic, "z": h.Z}
	a.Score = detect.Bounded(1 - (1-0.6*h.Machines)*(1-0.5*h.Hour)*(1-0.6*h.Traffic))
	a.Severity, a.Confidence = h.severity(c)
	a.Magnitude = float64(h.New) + float64(len(h.Which))
	var said []string
	if h.New > 0 {
		said = append(said, fmt.Sprintf("is at %d new %s", h.New, plural(h.New, "machine")))
		a.Reasons = append(a.Reasons, fmt.Sprintf("never at %s before, in %d days; in the last %d days they had %d %s",
			listed(h.Found), c.KnownDays, c.HistoryDays, h.Usual, plural(h.Usual, "machine")))
	}
	if h.NewHour {
		a.Magnitude++
		said = append(said, "is there on "+a.WindowStart.UTC().Format("Monday at 15:04"))
		a.Reasons = append(a.Reasons, fmt.Sprintf("%s UTC: seen on %d of the last %d days, and never at such an hour; the nearest in the week is %d hours away",
			a.WindowStart.UTC().Format("Monday 15:04"), h.Days, c.HistoryDays, h.Distance))
	}
	past := []measured{}
	for i, w := range h.Which {
		f, amount, peak := list[w-1], h.Amounts[i], h.Ceilings[i]
		if i == 0 {
			said = append(said, fmt.Sprintf("%s: %s in an hour, usual are %s", f.doing, f.text(float64(amount)), f.text(math.Expm1(h.Medians[i]))))
		}
		m := measured{f.name, amount, math.Expm1(h.Medians[i]), h.Medians[i], h.MADs[i], h.Zs[i], peak}
		a.Reasons = append(a.Reasons, m.reason(f, h.Samples, h.Level, "the user's"))
		past = append(past, m)
	}
	a.Title = h.User + " " + strings.Join(said, ", ")
	a.Reasons = append(a.Reasons, "addresses in the hour: "+listed(h.Hosts))
	a.Unless = []string{
		fmt.Sprintf("known for less than %d days (first seen %s), or seen on fewer than %d", c.WarmUpDays, h.Since.UTC().Format(time.DateTime), c.MinDays),
		fmt.Sprintf("more than %d addresses a day on two days of the past", c.MaxAddresses),
	}
	if h.New > 0 {
		a.Unless = append(a.Unless, "a card or a name of the machine that the user had before", fmt.Sprintf("%d other users at the address before", c.CommonUsers))
	}
	if h.NewHour {
		a.Unless = append(a.Unless, fmt.Sprintf("a sight within %d hours of it, on this day of the week, or on another if the user was ever seen on this", c.SlackHours))
	}
	if len(h.Which) > 0 {
		a.Unless = append(a.Unless, fmt.Sprintf("a part of 1/%v of the traffic on two days of the past", c.Record))
	}
	text, _ := json.Marshal(struct { // numbers and text only: cannot fail
		Of       string         `json:"of"`
		Level    baseline.Level `json:"level,omitempty"`
		Samples  uint64         `json:"samples"`
		Since    time.Time      `json:"learnt_since"`
		Until    time.Time      `json:"learnt_until"`
		Hours    uint64         `json:"hours"`
		Days     uint64         `json:"days_seen"`
		Machines uint64         `json:"machines"`
		Odd      []measured     `json:"features"`
	}{"where and when the user is, and what their machines do in an hour", baseline.Level(h.Level), h.Samples, h.Since.UTC(), a.WindowStart, h.PastHours, h.Days, h.Usual, past})
	a.Baseline = string(text)
}

// plural is the word for n of it.
func plural(n uint64, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// listed writes the first of a list.
func listed(list []string) string {
	const most = 6
	if len(list) > most {
		return strings.Join(list[:most], ", ") + fmt.Sprintf(" and %d more", len(list)-most)
	}
	return strings.Join(list, ", ")
}
