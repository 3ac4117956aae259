//! What must hold of the ledger, whatever the order in which entries come.
