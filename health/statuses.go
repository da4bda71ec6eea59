package health

import (
	"fmt"
	"strconv"
	"strings"
)

// statuses is a set of HTTP status codes, as ranges.
type statuses []struct{ from, to int }

// parseStatuses reads "200-399" or "200,204,300-399".
func parseStatuses(s string) (statuses, error) {
	var set statuses
	for part := range strings.SplitSeq(s, ",") {
		low, high, isRange := strings.Cut(part, "-")
		from, err := parseStatus(low)
		if err != nil {
			return nil, err
		}
		to := from
		if isRange {
			if to, err = parseStatus(high); err != nil {
				return nil, err
			}
		}
		if to < from {
			return nil, fmt.Errorf("range %q runs backwards", strings.TrimSpace(part))
		}
		set = append(set, struct{ from, to int }{from, to})
	}
	return set, nil
}

func parseStatus(s string) (int, error) {
	s = strings.TrimSpace(s)
	n, err := strconv.Atoi(s)
	if err != nil || len(s) != 3 || n < 100 || n > 599 {
		return 0, fmt.Errorf("%q is no status; want codes from 100 to 599 like 200,204,300-399", s)
	}
	return n, nil
}

func (s statuses) has(code int) bool {
	for _, r := range s {
		if r.from <= code && code <= r.to {
			return true
		}
	}
	return false
}
