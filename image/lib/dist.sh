dist() { :; }
