package egress

import (
	_ "embed"
	"fmt"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed refused_upload.sql
var refusedUploadSQL string

//go:embed refused_upload_windows.sql
var refusedUploadWindowsSQL string

// RefusedUploadConfig are the thresholds of refused_upload.
type RefusedUploadConfig struct {
	MinAttempts int     `conf:"min_attempts" help:"unanswered connections in an hour to one port of one outside host"`
	MaxAnswered float64 `conf:"max_answered" help:"greatest share of answered ones, 0 to 1"`
	HistoryDays int     `conf:"history_days" help:"days in which the port never answered any inside host"`
}

// newRefusedUpload looks for malware that cannot reach the place it reports to.
func newRefusedUpload(own detect.Own, c RefusedUploadConfig) detect.Detector {
	return detect.New(detect.Spec[refusedUpload]{
		Info: detect.Info{
			Name: "refused_upload", Version: 1, Title: "An outside host refuses, and is called again and again", Techniques: []string{"T1041", "T1571"},
			Length: time.Hour, Step: time.Hour, Rollups: []string{"flows_1h"},
			Doc: `An inside host keeps calling one TCP port of one outside host, which refuses or keeps silent and never answered any inside host: malware whose drop or command
server is gone. Medium from three times min_attempts, else low. The magnitude is the number of attempts.`,
			Controls: []string{
				"ports that answered any inside host in the history: that service is down",
				"common ports of the web, mail, DNS, chat and push, where a vendor's host may be gone",
				"destinations that more than 3 inside hosts call, and sources that do so with more than 5 destinations at once: peer-to-peer and scans",
				"sources of the roles scanner, monitor, proxy, nat and gateway, and exempt ones",
			},
			Parameters: []detect.Parameter{
				{Name: "min_attempts", Value: fmt.Sprint(c.MinAttempts), Doc: "in an hour; a client that tries every 2 minutes"},
				{Name: "max_answered", Value: detect.Decimal(c.MaxAnswered), Doc: "share of answered attempts"},
				{Name: "history_days", Value: fmt.Sprint(c.HistoryDays), Doc: "days without an answer"},
			},
		},
		SQL: detect.Compose(refusedUploadSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Unix(w).With("min_attempts", detect.Number(c.MinAttempts), "max_answered", detect.Decimal(c.MaxAnswered),
				"history_days", detect.Number(c.HistoryDays), "src", "", "dst", "", "port", "0", "site", "")
		},
		Judge: func(a *alert.Alert, r *refusedUpload) detect.Verdict {
			r.judge(a, c)
			a.EvidenceParams["src"], a.EvidenceParams["dst"], a.EvidenceParams["port"], a.EvidenceParams["site"] = r.Src, r.Dst, detect.Number(r.Port), r.Site
			return detect.Raise
		},
		Find:       detect.Compose(refusedUploadWindowsSQL),
		FindParams: own.Params().With("min_attempts", detect.Number(c.MinAttempts)),
	})
}

// refusedUpload is a row of the statement.
type refusedUpload struct {
	Site       string    `ch:"site"`
	Src        string    `ch:"src"`
	Dst        string    `ch:"dst"`
	Port       uint16    `ch:"port"`
	Attempts   uint64    `ch:"attempts"`
	Answered   uint64    `ch:"answered"`
	Refused    uint64    `ch:"refused"`
	Minutes    uint64    `ch:"minutes"`
	Hosts      uint64    `ch:"hosts"`
	First      time.Time `ch:"first"`
	Last       time.Time `ch:"last"`
	FlowIDs    []string  `ch:"flow_ids"`
	Insistence float64   `ch:"insistence"`
	Rarity     float64   `ch:"rarity"`
}

// judge scores a refused caller.
func (c refusedUpload) judge(a *alert.Alert, own RefusedUploadConfig) {
	service := detect.Service(6, c.Port)
	a.Title = fmt.Sprintf("%s called %s on %s %d times without an answer", c.Src, c.Dst, service, c.Attempts)
	a.Actor, a.Victim, a.Entities = c.Src, c.Dst, detect.Entities("actor", c.Src, "victim", c.Dst, "service", service, "site", c.Site)
	a.Start, a.End, a.FlowIDs, a.Magnitude = c.First, c.Last, c.FlowIDs, float64(c.Attempts)
	a.SubScores = map[string]float64{"insistence": c.Insistence, "rarity": c.Rarity}
	a.Score = detect.Bounded(0.6*c.Insistence + 0.4*c.Rarity)
	a.Severity, a.Confidence = alert.Low, 0.5
	if c.Attempts >= 3*uint64(own.MinAttempts) {
		a.Severity, a.Confidence = alert.Medium, 0.6
	}
	a.Reasons = []string{
		fmt.Sprintf("%d attempts in %d minutes, %d refused, %d answered; %d are enough, medium from %d", c.Attempts, c.Minutes, c.Refused, c.Answered, own.MinAttempts, 3*own.MinAttempts),
		fmt.Sprintf("the port answered no inside host in %d days, and %d inside hosts call the address", own.HistoryDays, c.Hosts),
	}
	a.Unless = []string{
		fmt.Sprintf("fewer than %d attempts in the hour", own.MinAttempts),
		"an answer to any inside host before",
		"more than 3 inside hosts calling the address",
	}
}
