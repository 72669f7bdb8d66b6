"""What people see: the upload page, the gallery and the operators' page. Optional; nothing below knows of it."""
